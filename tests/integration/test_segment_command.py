"""`vjepa segment` on a small run: tables, files and pictures, and one sentence for a slip."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.test_errors import slip
from vjepa.cli.main import main
from vjepa.data.video.facts import scan_video

pytestmark = pytest.mark.slow


@pytest.fixture
def arguments(tiny_world, tiny_recipe, tmp_path) -> list[str]:
    """Of a short evaluation of a recipe's random weights."""
    recipe = tmp_path / "segment.yaml"
    recipe.write_text(
        "data:\n"
        f"  train_manifest: {tiny_world / 'train.csv'}\n  test_manifest: {tiny_world / 'test.csv'}\n"
        "  size: [32, 32]\n  max_train: 3\n  max_test: 2\n"
        "heads: {num_steps: 2}\nlabelled_frames: [4, all]\nseeds: [0, 1]\npictures: 2\n"
        "tasks: [foreground, heads, motion_boundary, propagation]\n"
        f"num_frames: 4\nframe_step: 1\nruns: {tmp_path / 'runs'}\n"
    )
    return ["segment", "-c", str(recipe), f"--checkpoint={tiny_recipe}", "--accelerator=cpu"]


def test_all_rows_stand_in_all_tables_and_pictures_are_drawn(arguments, tiny_recipe, tmp_path, capsys):
    baselines = "--baselines=[random,colour,identical,random_image]"
    image = ["--image_model=vit_tiny_patch16_224"]
    main([*arguments, baselines, *image, f"--others=[{tiny_recipe}]"])
    said = " ".join(capsys.readouterr().out.split())
    folder = tmp_path / "runs" / "tiny" / "segment"
    for words in (
        "segmenting with the target encoder of",
        "objects without labels, in % on 2 test videos",
        "segmentation heads, in % on 2 test videos",
        "heads for motion boundaries, in % on 2 test videos",
        "propagation of the first mask, in % on 2 test videos",
        "copy of the first mask",
        "propagation of the first mask, J&F: pretrained less copy of the first mask",
        "intervals are 95 % over test videos",
        f"results are in {folder}",
    ):
        assert words in said, words
    with (folder / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = {"pretrained", "tiny.yaml", "random weights", "colour and position", "identical features"}
    names |= {"vit_tiny_patch16_224 per frame, random weights", "copy of the first mask"}
    assert {row["features"] for row in rows} == names
    of_heads = [row for row in rows if row["task"] == "heads" and row["features"] == "pretrained"]
    assert len(of_heads) == 2 * 2 * 2 * 2, "kinds, labelled frames, seeds, metrics"
    assert all(float(row["low"]) <= float(row["value"]) <= float(row["high"]) for row in rows)
    same = [row for row in rows if row["features"] == "tiny.yaml"]
    # The recipe's weights are those of seed 0, which are the run's before training, too.
    assert {row["minus_random"] for row in same} == {"0.0000"}
    facts = json.loads((folder / "results.json").read_text())
    assert (facts["num_frames"], facts["videos"], len(facts["results"])) == (4, 2, len(rows))
    sheet = np.asarray(Image.open(folder / "sheet.png"))
    films = sorted(folder.glob("*.mp4"))
    assert sheet.std() > 10 and len(films) == 2
    film = scan_video(str(films[0]))
    assert film.num_frames == 12 and abs(film.height - sheet.shape[0] // 2) <= 5 and film.width >= sheet.shape[1]


def test_images_are_encoded_frame_by_frame(arguments, tmp_path, capsys):
    folder = tmp_path / "ade"
    for split in ("training", "validation"):
        for name in "ab":
            for kind, pixels, suffix in (
                ("images", np.full((32, 48, 3), 90, np.uint8), "jpg"),
                ("annotations", np.tile(np.arange(4, dtype=np.uint8), (32, 12)), "png"),
            ):
                (folder / kind / split).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / kind / split / f"{name}.{suffix}")
    recipe = Path(__file__).parents[2] / "configs" / "segment" / "ade20k.yaml"
    flags = ["--num_frames=2", "--data.size=[32,48]", "--data.num_classes=3", "--heads.num_steps=2", "--pictures=1"]
    main(
        ["segment", "-c", str(recipe), *arguments[3:], f"--data.test_manifest={folder}", *flags, f"--output={tmp_path}"]
    )
    assert "linear, all frames: mIoU" in " ".join(capsys.readouterr().out.split())
    assert (tmp_path / "sheet.png").exists() and not list(tmp_path.glob("*.mp4"))


def test_slips_are_named(arguments, tiny_world, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(tiny_world, other)
    np.savez(other / "masks/test/00000.npz", mask=np.zeros((12, 16, 16), np.uint8))
    (other / "unmasked.csv").write_text("path,label\nvideos/test/00000.mp4,1\n")
    (other / "missing.csv").write_text("path,mask\nvideos/test/none.mp4,masks/test/00000.npz\n")
    for flags, sentence in (
        ([f"--data.test_manifest={other / 'test.csv'}"], "are 16x16, and frames of"),
        ([f"--data.test_manifest={other / 'unmasked.csv'}"], "has no column 'mask'"),
        ([f"--data.test_manifest={other / 'missing.csv'}"], "there is no video"),
        (["--frame_step=7"], "is shorter than a tubelet of 2 frames"),
        (["--tasks=[foregroud]"], "foreground"),
        (["--data.train_manifest=null"], "need training videos"),
        (["--labelled_frames=[500]"], "labelled_frames (500) are more than the 12 of all training videos"),
        (["--data.size=[30,32]"], "height (30) must be a multiple"),
        (["--levels=[7]"], "levels [7] do not exist"),
        (["--image_model=vit", "--baselines=[random_image]"], "timm has no image model 'vit'"),
    ):
        assert sentence in slip(capsys, *arguments, *flags), flags
    assert "'-c configs/segment" in slip(capsys, "segment").replace("`", "'"), "a recipe is suggested"
