"""Views follow from seed, position, clip and number alone, in training and in validation."""

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from lightning.fabric.utilities import move_data_to_device
from torch.utils.data._utils.pin_memory import pin_memory

from tests.integration.test_data_order import data_of, mixture, run
from vjepa.data.clips.augmentation import ColorJitter
from vjepa.data.clips.batch import ClipBatch
from vjepa.data.clips.cuts import TrainingCuts
from vjepa.data.clips.data_module import Source
from vjepa.data.clips.dataset import Clip, ClipDataset, ClipSource
from vjepa.data.clips.frame_sampling import FrameSampling
from vjepa.data.clips.views import ViewSettings
from vjepa.data.manifest.manifest import read_manifest
from vjepa.data.order import MixtureOrder, RowOrder, SampleKey
from vjepa.data.video.reader import ReaderChain

FEW = ViewSettings(number=3, keep_ratio=0.25)
CROPS = ViewSettings(number=2, keep_ratio=0.5, crop_size=(16, 24), flip_probability=0.5, color_jitter=ColorJitter())


def assert_equal(ours: list[ClipBatch], theirs: list[ClipBatch]) -> None:
    for mine, yours in zip(ours, theirs, strict=True):
        assert torch.equal(mine.clips, yours.clips)
        for my_views, your_views in zip(mine.views, yours.views, strict=True):
            for my_part, your_part in zip(my_views, your_views, strict=True):
                assert (my_part is None and your_part is None) or torch.equal(my_part, your_part)


def test_views_of_a_clip_keep_tokens_of_their_own(tiny_world):
    (batch,) = run(data_of(tiny_world, views=[FEW, ViewSettings(1)], clips_per_video=2), 1)
    few, whole = batch.views
    assert few.clips is None and few.token_ids.shape == (4 * 3, 8) and whole == (None, None)
    assert len({tuple(ids) for ids in few.token_ids.tolist()}) == 12
    assert batch.clips_per_file == 2 and batch.positions.tolist() == [0, 0, 1, 1]


def test_views_change_no_clip_and_no_mask(tiny_world):
    (plain,), (batch,) = run(data_of(tiny_world), 1), run(data_of(tiny_world, views=[FEW]), 1)
    assert plain.views == [] and plain.clips_per_file == 1
    assert torch.equal(batch.clips, plain.clips)
    for mine, yours in zip(batch.masks, plain.masks, strict=True):
        assert torch.equal(mine.context_ids, yours.context_ids) and torch.equal(mine.target_ids, yours.target_ids)


def test_equal_settings_draw_other_views(tiny_world):
    (batch,) = run(data_of(tiny_world, views=[FEW, FEW]), 1)
    first, second = batch.views
    assert not torch.equal(first.token_ids, second.token_ids)
    (other,) = run(data_of(tiny_world, views=[FEW], seed=1), 1)
    assert not torch.equal(first.token_ids, other.views[0].token_ids)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_views_do_not_depend_on_the_number_of_workers(tiny_world, num_workers):
    plain = run(data_of(tiny_world, views=[FEW, CROPS]), 3)
    assert_equal(run(data_of(tiny_world, views=[FEW, CROPS], num_workers=num_workers), 3), plain)


def test_two_ranks_together_see_the_views_of_one(tiny_world):
    whole = run(data_of(tiny_world, views=[FEW, CROPS]), 3)
    parts = [run(data_of(tiny_world, rank, 2, views=[FEW, CROPS]), 3) for rank in (0, 1)]
    for batch, first, second in zip(whole, *parts, strict=True):
        for number in (0, 1):
            ids = [part.views[number].token_ids for part in (first, second)]
            assert torch.equal(batch.views[number].token_ids, torch.cat(ids))
        assert torch.equal(batch.views[1].clips, torch.cat([part.views[1].clips for part in (first, second)]))


def test_a_resumed_run_goes_on_with_the_same_views(tiny_world):
    plain = run(data_of(tiny_world, views=[FEW, CROPS]), 5)
    first, second = (data_of(tiny_world, views=[FEW, CROPS]) for _ in range(2))
    run(first, 3)
    second.load_state_dict(first.state_dict())
    assert_equal(run(second, 2), plain[3:])


def test_validation_has_the_same_views_each_time(tiny_world):
    def batches() -> list[ClipBatch]:
        return list(data_of(tiny_world, views=[FEW, CROPS], val_manifest=str(tiny_world / "val.csv")).val_dataloader())

    assert_equal(batches(), batches())
    for batch in batches():
        few, crops = batch.views
        assert few.token_ids.shape == (4 * 3, 8)
        assert crops.clips.shape == (4 * 2, 3, 4, 16, 24) and crops.token_ids.shape == (4 * 2, 6)


def test_views_of_images_are_tokens_of_one_frame(tiny_world, tmp_path):
    settings = mixture(tiny_world, tmp_path)
    settings["mixture"] = [
        Source(str(tiny_world / "train.csv")),
        Source(str(tmp_path / "pictures"), num_frames=1, name="images"),
    ]
    batches = run(data_of(tiny_world, image_tokenizer=True, views=[FEW, CROPS], **settings), 8)
    assert {batch.clips.shape[2] for batch in batches} == {1, 4}
    for batch in batches:
        frames, (few, crops) = batch.clips.shape[2], batch.views
        token_frames = 1 if frames == 1 else 2
        assert few.token_ids.shape == (12, token_frames * 4) and few.token_ids.max() < token_frames * 16
        assert crops.clips.shape == (8, 3, frames, 16, 24) and crops.token_ids.shape == (8, token_frames * 3)


def test_batches_with_views_are_pinned_and_moved(tiny_world, monkeypatch):
    (batch,) = run(data_of(tiny_world, views=[FEW, CROPS, ViewSettings(1)]), 1)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor.clone())  # it needs a GPU
    for copy in (pin_memory(batch), move_data_to_device(batch, torch.device("cpu"))):
        assert type(copy) is ClipBatch and copy.clips_per_file == 1 and copy.failures == []
        assert_equal([copy], [batch])


def test_views_alone_need_no_masks(tiny_world):
    (batch,) = run(data_of(tiny_world, masks=[], views=[FEW]), 1)
    assert batch.masks == [] and len(batch.views) == 1
    with pytest.raises(ValueError, match="masks is empty; give at least one mask strategy, or `views` to compare"):
        data_of(tiny_world, masks=[], views=[])


# --- crops


class Ruler(ReaderChain):
    """Frames of 32 x 32 pixels whose red tells their number, green the row, blue the column."""

    def __init__(self):
        super().__init__()
        self.decoded = 0

    def decode(self, source, facts, frame_ids, crop_box=None, size=None):
        self.decoded += 1
        assert crop_box is None and size is None  # views lie anywhere in the frame
        row, column = np.mgrid[:32, :32]
        return np.stack([np.stack([np.full_like(row, 8 * t), 4 * row, 4 * column], -1) for t in frame_ids]).astype("u1")


def clips_with(views: ViewSettings, world, **settings) -> list[Clip]:
    """Eight clips of four files, each decoded once."""
    cuts = TrainingCuts((16, 16), (0.2, 0.2), (1.0, 1.0), **({"clips_per_video": 2} | settings))
    readers = Ruler()
    manifest = read_manifest(world / "train.csv")
    source = ClipSource("train", manifest, FrameSampling(4, frame_step=1))
    files = ClipDataset([source], MixtureOrder([RowOrder(len(manifest), 0)]), cuts, readers, [FEW, views])
    clips = [clip for position in range(2, 6) for clip in files[SampleKey(position, 0)]]
    assert readers.decoded == 4
    return clips


def test_crops_show_the_frames_of_their_clip_from_one_decode_and_lie_anywhere(tiny_world):
    outside, boxes = 0, set()
    for clip in clips_with(ViewSettings(5, crop_size=(8, 8), crop_scale=(0.05, 0.3)), tiny_world):
        none, crops = clip.views
        assert none is None and crops.shape == (5, 3, 4, 8, 8)
        times = clip.pixels[0, :, :1, :1]
        assert len(times.unique()) == 4 and (crops[:, 0] == times).all()
        boxes |= {(view[1].min().item(), view[2].min().item()) for view in crops}
        outside += sum(bool(view[1].min() > clip.pixels[1].max()) for view in crops)
    assert len(boxes) > 30 and outside > 0


def mirrored(pixels: torch.Tensor) -> bool:
    return bool(pixels[2, 0, 0, 0] > pixels[2, 0, 0, -1])


def test_crops_are_mirrored_where_their_clip_is_and_keep_its_colours_unless_asked(tiny_world):
    seen = set()
    for clip in clips_with(ViewSettings(3, crop_size=(8, 8)), tiny_world):
        seen.add(mirrored(clip.pixels))
        assert {mirrored(view) for view in clip.views[1]} == {mirrored(clip.pixels)}
    assert seen == {False, True}
    for clip in clips_with(ViewSettings(3, crop_size=(8, 8), flip_probability=1.0), tiny_world):
        assert {mirrored(view) for view in clip.views[1]} == {not mirrored(clip.pixels)}
    # Where the clip's colours change, its views have the file's.
    for clip in clips_with(ViewSettings(3, crop_size=(8, 8)), tiny_world, color_jitter=1.0):
        assert (clip.views[1][:, 0] % 8 == 0).all()


@pytest.mark.parametrize("jitter", [1.0, ColorJitter(probability=1.0, grayscale_probability=0.0)])
def test_each_crop_has_colours_of_its_own_all_frames_the_same(tiny_world, jitter):
    settings = ViewSettings(4, crop_size=(32, 32), crop_scale=(1.0, 1.0), color_jitter=jitter)
    clips = clips_with(settings, tiny_world, flip_probability=0.0)
    pixels = torch.cat([view for clip in clips if (view := clip.views[1]) is not None]).int()
    changes = pixels[:, :, :, 1:] - pixels[:, :, :, :-1]  # from row to row: the same in all frames
    assert ((changes - changes[:, :, :1]).abs() <= 1).float().mean() > 0.9
    assert len({tuple(view.flatten().tolist()) for view in pixels}) == len(pixels)


def test_settings_of_views_are_read_from_recipes():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--views", type=list[ViewSettings])
    text = '[{"number": 3, "keep_ratio": 0.25}, {"number": 2, "crop_size": [16, 24], "color_jitter": {"hue": 0.2}}]'
    read = parser.instantiate(parser.parse_args([f"--views={text}"])).views
    assert read == [FEW, ViewSettings(2, crop_size=(16, 24), color_jitter=ColorJitter(hue=0.2))]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"number": 0}, r"the number of views \(0\) must be at least 1"),
        ({"number": 2, "keep_ratio": 0.0}, r"keep_ratio \(0.0\) of a view must be more than 0 and at most 1"),
        ({"number": 2, "keep_ratio": 1.5}, r"keep_ratio \(1.5\) of a view must be more than 0 and at most 1"),
        ({"number": 2}, r"2 views that keep all tokens .* are the same; give a smaller keep_ratio or a crop_size"),
        ({"number": 2, "color_jitter": 0.5}, r"color_jitter \(0.5\) changes crops alone; give these views a crop_size"),
        ({"number": 2, "crop_size": (8, 8), "crop_scale": (2.0, 40.0)}, r"crop_scale .* rising range, above 0 and up"),
        ({"number": 2, "crop_size": (8, 8), "flip_probability": 2.0}, r"flip_probability \(2.0\) of views must be"),
        ({"number": 2, "crop_size": (8, 8), "color_jitter": -1.0}, r"color_jitter \(-1.0\) of views must be between"),
    ],
)
def test_views_of_no_use_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        ViewSettings(**settings)


def test_crops_of_no_whole_tubelets_are_refused(tiny_world):
    with pytest.raises(ValueError, match=r"crop_size \(16, 20\) of views: width \(20\) must be a multiple .* try 16"):
        data_of(tiny_world, views=[ViewSettings(2, crop_size=(16, 20))])
