"""`vjepa label-efficiency` in small: a page, its picture, numbers, and nothing made twice."""

import json
import subprocess

import pytest

from tests.cli.test_errors import slip
from tests.integration.test_compare_command import QUICK, in_this_process
from vjepa.cli.main import main
from vjepa.data.manifest.manifest import read_manifest
from vjepa.evaluation.finetuning.finetuning import FineTuning
from vjepa.evaluation.label_efficiency.subset import write_subset

pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")


@pytest.fixture
def arguments(tiny_recipe, tiny_world, tmp_path) -> list[str]:
    supervised = "--supervised={heads: [linear], learning_rates: [1e-3], weight_decays: [0.1], num_epochs: 1, "
    return [
        "label-efficiency",
        *(f"--data.{split}_manifest={tiny_world / split}.csv" for split in ("train", "val", "test")),
        *("--data.num_frames=4", "--data.frame_step=2", "--data.crop_size=[32,32]", "--data.num_workers=0"),
        *(*QUICK, supervised + "min_steps: 2, batch_size: 8}", "--sweep.heads=[linear]"),
        *(f"--recipe={tiny_recipe}", "--steps=2", "--unlabelled=[8,all]", "--labels_per_class=[1,all]"),
        *("--headline=1", "--seeds=[3]", "--accelerator=cpu", "--at_once=1"),
        *(f"--runs={tmp_path / 'runs'}", f"--output={tmp_path / 'docs' / 'labels.md'}"),
    ]


@pytest.mark.slow
def test_it_writes_a_page_a_picture_and_numbers_and_makes_nothing_twice(arguments, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(subprocess, "run", in_this_process)
    main(arguments)
    text, folder = (tmp_path / "docs" / "labels.md").read_text(), tmp_path / "runs" / "labels"
    for words in ("pretrained on 8 clips", "pretrained on 26 clips", "random weights, probed", "with labels alone"):
        assert f"| {words}" in text or words in text
    assert "(pictures/labels.png)" in text
    assert (tmp_path / "docs" / "pictures" / "labels.png").read_bytes().startswith(b"\x89PNG")
    results = json.loads((folder / "results.json").read_text())["results"]
    assert len(results) == 2 * 4 and all(0 <= result["accuracy"] <= 1 for result in results)
    (subset,) = folder.glob("*_8_clips_seed_3.csv")
    assert len(read_manifest(subset)) == 8
    capsys.readouterr()
    monkeypatch.setattr(subprocess, "run", None)
    monkeypatch.setattr(FineTuning, "run", None)
    main(arguments)
    assert (tmp_path / "docs" / "labels.md").read_text() == text
    assert capsys.readouterr().out.count("is complete") == 2


def test_a_smaller_subset_is_part_of_a_larger_one_and_has_no_labels(tiny_world, tmp_path):
    clips = read_manifest(tiny_world / "train.csv")
    for count in (5, 9):
        write_subset(clips, count, 0, tmp_path / f"{count}.csv")
    few, more = (read_manifest(tmp_path / f"{count}.csv") for count in (5, 9))
    assert set(few.paths) < set(more.paths) <= set(clips.paths) and len(more) == 9
    assert (more.labels == -1).all() and more.facts(0) is not None
    with pytest.raises(ValueError, match=r"there are 26 clips .*, so unlabelled \(27\) must lie between 1 and that"):
        write_subset(clips, 27, 0, tmp_path / "27.csv")


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--headline=7", "headline (7) must be one of labels_per_class"),
        ("--labels_per_class=[all,1]", "must ascend"),
        ("--seeds=[1,1]", "seeds ([1, 1]) must be unique"),
    ],
)
def test_slips_are_named(arguments, capsys, flag, sentence):
    headline = ("--headline=all",) if "labels" in flag else ()
    assert sentence in slip(capsys, *arguments, *headline, flag)
