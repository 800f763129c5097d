"""Clips of the physics world: matched pairs of films for surprise, and possible films to train on.

data/physics/README.md has the columns. Clip i of a split is a function of (seed, split, i) alone; clips 4q to 4q + 3
are one quadruple, so two pairs of one property.
"""

from typing import NamedTuple

import numpy as np

from vjepa.data.synthetic.physics import (
    FEWEST_FRAMES,
    HARMLESS,
    PROPERTIES,
    draw_quadruple,
    draw_training_film,
)
from vjepa.data.synthetic.physics_render import Bytes, render_film

TRAIN_COLUMNS = ("num_objects",)
PAIR_COLUMNS = ("pair", "possible", "property", "violation_frame", "harmless", "changed", "num_objects")
CLIPS_PER_QUADRUPLE = 4
# Of the 255 steps of a colour: of one block of 2 x 2 pixels, as colours are stored, or of the whole frame's mean.
VISIBLE_SPOT, VISIBLE_TINT = 40.0, 1.0


class PhysicsClip(NamedTuple):
    facts: dict[str, str | int]  # its manifest columns
    frames: Bytes  # (T, H, W, 3)
    masks: Bytes  # (T, H, W)


def draw_physics_clip(
    seed: tuple[int, int],  # of the dataset; number of the split
    index: int,  # of the clip in the split
    paired: bool,  # of val and test
    num_frames: int,
    size: int,
) -> PhysicsClip:
    if not paired:
        film = draw_training_film(np.random.default_rng([*seed, index]), num_frames)
        return PhysicsClip({"num_objects": len({thing.number for thing in film.things})}, *render_film(film, size))
    quadruple, member = divmod(index, CLIPS_PER_QUADRUPLE)
    name = PROPERTIES[quadruple % len(PROPERTIES)]
    films = draw_quadruple(np.random.default_rng([*seed, quadruple]), name, num_frames)
    changed, frames, masks = member % 2, *render_film(films[member], size)
    violation: int | str = ""
    if changed:
        partner, partner_masks = render_film(films[member - 1], size)
        violation = first_visible_change(partner, frames)
        frames[:violation], masks[:violation] = partner[:violation], partner_masks[:violation]
    harmless = int(name in HARMLESS)
    facts: dict[str, str | int] = {
        "pair": index // 2,
        "possible": int(harmless or not changed),
        "property": name,
        "violation_frame": violation,
        "harmless": harmless,
        "changed": changed,
        "num_objects": len({thing.number for thing in films[member].things}),
    }
    return PhysicsClip(facts, frames, masks)


def first_visible_change(frames: Bytes, others: Bytes) -> int:
    """The first frame in which two films visibly differ."""
    difference = np.abs(frames.astype(np.float32) - others)
    blocks = difference.reshape(len(frames), frames.shape[1] // 2, 2, frames.shape[2] // 2, 2, 3).mean(axis=(2, 4))
    visible = (blocks.max(axis=(1, 2, 3)) >= VISIBLE_SPOT) | (blocks.mean(axis=(1, 2, 3)) >= VISIBLE_TINT)
    assert visible.any(), "the films of a pair are the same"
    return int(np.argmax(visible))


def check_physics_arguments(num_frames: int, **num_clips: int) -> None:
    """Raise ValueError for clips that are too short, or parts of quadruples."""
    if num_frames < FEWEST_FRAMES:
        raise ValueError(
            f"num_frames ({num_frames}) of the physics world must be at least {FEWEST_FRAMES}, in which an object "
            f"is seen, hidden and seen again"
        )
    for name, number in num_clips.items():
        if number % CLIPS_PER_QUADRUPLE:
            raise ValueError(
                f"{name} ({number}) must be a multiple of {CLIPS_PER_QUADRUPLE}, two pairs of one property; try "
                f"{number + -number % CLIPS_PER_QUADRUPLE}"
            )
