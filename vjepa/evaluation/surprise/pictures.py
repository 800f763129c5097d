"""Pictures of surprise: the frames of pairs, and the curves of both clips under them, a sheet for each property."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F

from vjepa.data.clips.matched_pairs import DecodedPair, WholeClip
from vjepa.evaluation.figures import require_matplotlib, save_figure
from vjepa.evaluation.surprise.evaluation import SurpriseResults

NUM_FRAMES = 10  # of a clip that are shown
COLOURS = {"plain": "tab:blue", "odd": "tab:red"}


class PairSheets:
    """Keeps the first test pairs of each property, and draws them."""

    def __init__(self, pairs_per_sheet: int = 2):
        self.pairs_per_sheet = pairs_per_sheet
        self.kept: dict[str, list[DecodedPair]] = {}

    def keep(self, decoded: DecodedPair) -> None:
        kept = self.kept.setdefault(_sheet(decoded), [])
        if len(kept) < self.pairs_per_sheet:
            kept.append(decoded)

    def draw(self, results: SurpriseResults, row: str, folder: Path) -> list[Path]:
        """A PNG for each property: frames of the possible clip over those of the impossible one, then their curves."""
        plt = require_matplotlib()
        measured = {(each.pair.property, each.pair.name): each for each in results.measured}
        files = []
        for sheet, pairs in self.kept.items():
            heights = [1.3, 1.3, 1.9] * len(pairs)  # inches; frames come out nearly square
            size = (1.1 * NUM_FRAMES, sum(heights))
            figure, axes = plt.subplots(len(heights), 1, figsize=size, layout="constrained", height_ratios=heights)
            for number, decoded in enumerate(pairs):
                found = measured[decoded.pair.property, decoded.pair.name]
                of_pair = axes[3 * number : 3 * number + 3]
                words = ("unchanged", "changed") if decoded.pair.is_harmless else ("possible", "impossible")
                curves = [each[row].curve[results.curve_setting[row]].numpy() for each in (found.plain, found.odd)]
                for axis, clip, word in zip(of_pair, (decoded.plain, decoded.odd), words, strict=False):
                    _show_frames(axis, clip, word)
                _show_curves(of_pair[2], (decoded.plain, decoded.odd), curves, words, decoded.pair.violation_frame)
            figure.suptitle(f"{sheet}: surprise of '{row}'", fontsize=10)
            files.append(folder / f"{sheet.replace('/', '_').replace(' ', '_')}.png")
            save_figure(figure, files[-1])
        return files


def _sheet(decoded: DecodedPair) -> str:
    return f"{decoded.pair.property} harmless" if decoded.pair.is_harmless else decoded.pair.property


def _show_frames(axis: Any, clip: WholeClip, word: str) -> None:
    """Frames at even times, so that they lie over the curve's axis."""
    chosen = np.linspace(0, clip.frames.shape[1] - 1, NUM_FRAMES).round().astype(int)
    gap = max(1, clip.frames.shape[-1] // 32)
    framed = F.pad(clip.frames[:, chosen], (gap, gap), value=255)
    strip = framed.permute(2, 1, 3, 0).flatten(1, 2).numpy()  # (H, frames * W, 3)
    axis.imshow(strip, aspect="auto")
    axis.set_xticks([(number + 0.5) * strip.shape[1] / NUM_FRAMES for number in range(NUM_FRAMES)])
    axis.set_xticklabels([str(each) for each in clip.frame_ids[chosen]], fontsize=6)
    axis.set_yticks([])
    axis.set_ylabel(word, fontsize=8)


def _show_curves(
    axis: Any, clips: Sequence[WholeClip], curves: Sequence[np.ndarray], words: Sequence[str], violation: int | None
) -> None:
    for clip, curve, word, colour in zip(clips, curves, words, COLOURS.values(), strict=True):
        axis.plot(clip.frame_ids, curve, color=colour, label=word, linewidth=1.4)
    if violation is not None:
        axis.axvline(violation, color="black", linestyle=":", linewidth=1, label="first frame that differs")
    ids = clips[0].frame_ids
    half = (ids[-1] - ids[0]) / (2 * (NUM_FRAMES - 1)) if len(ids) > 1 else 1  # frames are drawn around their time
    axis.set_xlim(ids[0] - half, ids[-1] + half)
    axis.set_xlabel("frame", fontsize=8)
    axis.set_ylabel("surprise", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.legend(fontsize=7, loc="upper left")
