"""Labelled clips of the small embedded dataset, as probes take them."""

from pathlib import Path
from typing import Any

from vjepa.data.clips.labelled_clips import LabelledClips


def tiny_clips(folder: Path, **settings: Any) -> LabelledClips:
    """Clips of 4 frames of 32 x 32; decoded in this process. Other settings win."""
    sources = {f"{split}_manifest": str(folder / f"{split}.csv") for split in ("train", "val", "test")}
    cuts = {"num_frames": 4, "frame_step": 2, "crop_size": (32, 32), "num_workers": 0, "batch_size": 8}
    return LabelledClips(**{**sources, **cuts, **settings})
