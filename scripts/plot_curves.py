"""Draw a run's curves from its TensorBoard events: `python scripts/plot_curves.py RUN_FOLDER PICTURE.png`."""

import sys
from pathlib import Path

import matplotlib
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PANELS = {
    "loss": ["train/loss", "train/loss_mask0", "train/loss_mask1"],
    "effective rank (RankMe)": ["health/context_rank", "health/target_rank", "health/predicted_rank"],
    "feature std": ["health/context_std", "health/target_std", "health/predicted_std"],
    "variance of targets between clips": ["health/target_variance"],
    "gradient norm": ["health/gradient_norm"],
    "clips per second": ["speed/clips_per_second"],
}


def main(run: Path, picture: Path) -> None:
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    known = set(events.Tags()["scalars"])
    figure, axes = plt.subplots(2, 3, figsize=(14, 7), constrained_layout=True)
    for axis, (title, names) in zip(axes.flat, PANELS.items(), strict=True):
        for name in names:
            if name in known:
                points = events.Scalars(name)
                axis.plot([point.step for point in points], [point.value for point in points], label=name)
        axis.set(title=title, xlabel="step", ylim=(0, None))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=80)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
