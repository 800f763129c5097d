"""What `vjepa show` draws is what a model gets."""

import av
import numpy as np
import pytest
from PIL import Image

from tests.cli.test_errors import slip
from vjepa.cli.main import main
from vjepa.cli.show_command import previews_of
from vjepa.data.clips.data_module import ClipDataModule
from vjepa.data.clips.views import ViewSettings
from vjepa.grid import TokenGrid
from vjepa.masking import MultiBlockTubes
from vjepa.monitoring.previews import Panel, Preview, film, masked, sheet


def test_masks_grey_out_what_is_hidden_and_darken_what_is_neither():
    frames = np.full((2, 4, 4, 3), 200, np.uint8)
    drawn = masked(frames, TokenGrid(1, 2, 2), np.array([0]), np.array([1, 2]))
    for frame in drawn:
        assert (frame[:2, :2] == 200).all() and (frame[:2, 2:] == 128).all()
        assert (frame[2:, :2] == 128).all() and (frame[2:, 2:] == 50).all()
    assert (masked(frames, TokenGrid(1, 2, 2), np.array([0]))[:, 2:] == 128).all()  # of a view all others are hidden


def test_samples_are_those_of_the_first_batch_of_training(tiny_world):
    settings = {"num_frames": 4, "frame_step": 2, "crop_size": (32, 32), "tubelet": (2, 8, 8), "num_workers": 0}
    views = [ViewSettings(2, keep_ratio=0.25), ViewSettings(1, crop_size=(16, 16))]
    data = ClipDataModule(
        train_manifest=str(tiny_world / "train.csv"),
        masks=[MultiBlockTubes(num_blocks=4)],
        views=views,
        global_batch_size=8,
        **settings,
    )
    previews = previews_of(data, samples=2)
    batch = next(iter(data.train_dataloader()))
    assert len(previews) == 2
    for row, preview in enumerate(previews):
        clip, mask, *kept, crop = preview.panels
        assert np.array_equal(clip.frames, batch.clips[row].permute(1, 2, 3, 0).numpy())
        context, target = (ids[row].numpy() for ids in batch.masks[0])
        assert np.array_equal(mask.frames, masked(clip.frames, TokenGrid(2, 4, 4), context, target))
        assert f"{len(context)} tokens seen, {len(target)} to predict, of 32" in mask.title
        for view, panel in enumerate(kept):
            ids = batch.views[0].token_ids[2 * row + view].numpy()
            assert np.array_equal(panel.frames, masked(clip.frames, TokenGrid(2, 4, 4), ids))
        assert np.array_equal(crop.frames, batch.views[1].clips[row].permute(1, 2, 3, 0).numpy())
        assert data.train[0].manifest.paths[batch.rows[row]] in preview.heading


def test_a_sheet_has_a_strip_for_each_panel_and_a_film_all_frames():
    panels = [Panel("a", np.zeros((3, 128, 128, 3), np.uint8)), Panel("b", np.full((1, 128, 128, 3), 90, np.uint8))]
    drawn = sheet([Preview("one", panels)])
    assert (drawn == 0).all(-1).sum() >= 3 * 128 * 128 and (drawn == 90).all(-1).sum() >= 128 * 128
    frames = film([Preview("one", panels)])
    assert len(frames) == 3 and frames.shape[1] % 2 == frames.shape[2] % 2 == 0
    assert all((frame == 90).all(-1).sum() >= 128 * 128 for frame in frames)  # the shorter one stays


def test_a_recipe_is_shown_with_data_of_ones_own(tiny_recipe, tiny_world, capsys):
    sheet_file, film_file = tiny_recipe.parent / "a" / "sheet.png", tiny_recipe.parent / "film.mp4"
    main(["show", str(tiny_world / "val.csv"), "-c", str(tiny_recipe), "-o", str(sheet_file), "--samples=1"])
    assert f"{sheet_file}: 1 training sample as" in capsys.readouterr().out
    with Image.open(sheet_file) as drawn:
        assert drawn.size[0] >= 480
    main(["show", "-c", str(tiny_recipe), "-o", str(film_file), "--data.num_frames=6"])
    with av.open(str(film_file)) as video:
        assert video.streams.video[0].frames == 6
    assert not (tiny_recipe.parent / "runs").exists()


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--output=x.gif", "output (x.gif) must end with .png or .mp4, for a sheet or a film"),
        ("--samples=0", "samples (0) must be at least 1"),
    ],
)
def test_what_can_not_be_shown_is_refused(tiny_recipe, capsys, flag, message):
    assert slip(capsys, "show", "-c", tiny_recipe, flag) == message
