"""Runs on real clips, where they are at hand: `VJEPA_SHARED_DATA`, or `../shared/data` beside the project."""

import os
from pathlib import Path

import pytest

from tests.integration.runs import ROOT, checkpoint
from vjepa.cli.main import main
from vjepa.data.clips.cuts import TrainingCuts
from vjepa.data.clips.dataset import ClipDataset, ClipSource
from vjepa.data.clips.frame_sampling import FrameSampling
from vjepa.data.manifest.manifest import read_manifest
from vjepa.data.order import MixtureOrder, RowOrder, SampleKey
from vjepa.data.video.reader import ReaderChain

REAL_VIDEO = Path(os.environ.get("VJEPA_SHARED_DATA", ROOT.parent / "shared" / "data"))
SETS = [("jhmdb", "train"), ("weizmann", "train"), ("ut_interaction", "train")]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not REAL_VIDEO.is_dir(),
        reason=f"no real video at {REAL_VIDEO}; set VJEPA_SHARED_DATA to a folder with jhmdb/ ...",
    ),
]


@pytest.mark.parametrize(("name", "split"), SETS)
def test_real_clips_are_read_whole(name, split):
    manifest = read_manifest(REAL_VIDEO / name / "labels.csv", split=split)
    source = ClipSource(name, manifest, FrameSampling(8, fps=12.5))
    order = MixtureOrder([RowOrder(len(manifest), seed=0)])
    clips = ClipDataset([source], order, TrainingCuts((64, 64), crop_scale=(0.5, 1.0)), ReaderChain())
    for position in range(8):
        [clip] = clips[SampleKey(position, 0)]
        assert not clip.failures
        frames = clip.pixels.float()
        assert frames.std() > 5, "a blank clip"
        assert (frames[:, 1:] != frames[:, :-1]).flatten(2).any(dim=2).any(), "a frozen clip"


@pytest.mark.parametrize(("name", "split"), SETS)
def test_a_run_on_real_clips(tiny_recipe, name, split):
    main(
        [
            "fit",
            *("-c", str(tiny_recipe), "--name=real", "--trainer.max_steps=2"),
            *(f"--data.train_manifest={REAL_VIDEO / name / 'labels.csv'}", f"--data.train_split={split}"),
            *("--data.val_manifest=null", "--data.frame_step=null", "--data.fps=12.5"),
        ]
    )
    run = tiny_recipe.parent / "runs" / "real" / "version_0"
    assert checkpoint(run)["global_step"] == 2
    assert not (run / "quarantine.csv").exists()
