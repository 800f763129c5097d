"""Views follow from seed, position, clip and number alone, in training and in validation."""

import pytest
import torch
from lightning.fabric.utilities import move_data_to_device
from torch.utils.data._utils.pin_memory import pin_memory

from tests.integration.test_data_order import data_of, mixture, run
from vjepa.data.clips.batch import ClipBatch
from vjepa.data.clips.data_module import Source
from vjepa.data.clips.views import ViewSettings

FEW = ViewSettings(number=3, keep_ratio=0.25)


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
    plain = run(data_of(tiny_world, views=[FEW]), 7)
    assert_equal(run(data_of(tiny_world, views=[FEW], num_workers=num_workers), 7), plain)


def test_two_ranks_together_see_the_views_of_one(tiny_world):
    whole = run(data_of(tiny_world, views=[FEW]), 3)
    parts = [run(data_of(tiny_world, rank, 2, views=[FEW]), 3) for rank in (0, 1)]
    for batch, first, second in zip(whole, *parts, strict=True):
        ids = [part.views[0].token_ids for part in (first, second)]
        assert torch.equal(batch.views[0].token_ids, torch.cat(ids))


def test_a_resumed_run_goes_on_with_the_same_views(tiny_world):
    plain = run(data_of(tiny_world, views=[FEW]), 8)
    first, second = (data_of(tiny_world, views=[FEW]) for _ in range(2))
    run(first, 5)
    second.load_state_dict(first.state_dict())
    assert_equal(run(second, 3), plain[5:])


def test_validation_has_the_same_views_each_time(tiny_world):
    def batches() -> list[ClipBatch]:
        return list(data_of(tiny_world, views=[FEW], val_manifest=str(tiny_world / "val.csv")).val_dataloader())

    assert_equal(batches(), batches())
    assert [batch.views[0].token_ids.shape for batch in batches()] == [(12, 8), (12, 8)]


def test_views_of_images_are_tokens_of_one_frame(tiny_world, tmp_path):
    settings = mixture(tiny_world, tmp_path)
    settings["mixture"] = [
        Source(str(tiny_world / "train.csv")),
        Source(str(tmp_path / "pictures"), num_frames=1, name="images"),
    ]
    batches = run(data_of(tiny_world, image_tokenizer=True, views=[FEW], **settings), 8)
    shapes = {(batch.clips.shape[2], *batch.views[0].token_ids.shape) for batch in batches}
    assert shapes == {(4, 12, 8), (1, 12, 4)}
    assert all(batch.views[0].token_ids.max() < batch.clips.shape[2] * 16 for batch in batches)


def test_batches_with_views_are_pinned_and_moved(tiny_world, monkeypatch):
    (batch,) = run(data_of(tiny_world, views=[FEW, ViewSettings(1)]), 1)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor.clone())  # it needs a GPU
    for copy in (pin_memory(batch), move_data_to_device(batch, torch.device("cpu"))):
        assert type(copy) is ClipBatch and copy.clips_per_file == 1 and copy.failures == []
        assert_equal([copy], [batch])


def test_views_alone_need_no_masks(tiny_world):
    (batch,) = run(data_of(tiny_world, masks=[], views=[FEW]), 1)
    assert batch.masks == [] and len(batch.views) == 1
    with pytest.raises(ValueError, match="masks is empty; give at least one mask strategy, or `views` to compare"):
        data_of(tiny_world, masks=[], views=[])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"number": 0}, r"the number of views \(0\) must be at least 1"),
        ({"number": 2, "keep_ratio": 0.0}, r"keep_ratio \(0.0\) of a view must be more than 0 and at most 1"),
        ({"number": 2, "keep_ratio": 1.5}, r"keep_ratio \(1.5\) of a view must be more than 0 and at most 1"),
        ({"number": 2}, r"2 views that keep all tokens .* are the same; give a smaller keep_ratio"),
    ],
)
def test_views_of_no_use_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        ViewSettings(**settings)
