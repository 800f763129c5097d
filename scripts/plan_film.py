"""The moving picture of README: episodes of Two Rooms, the plan that the model imagines, and the way travelled.

    python scripts/plan_film.py runs/two_rooms/version_0 docs/pictures/plan.webp
    python scripts/plan_film.py runs/two_rooms_random/version_0 docs/pictures/plan.webp --layouts random

White is the way so far, gold what the model imagines of the rest of its present plan, the ring is the goal.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from vjepa.data.atomic_file import new_file
from vjepa.envs.two_rooms import TwoRooms
from vjepa.evaluation.planning.model_policy import ModelPolicy
from vjepa.evaluation.planning.read_out import fit_read_out
from vjepa.planning.cross_entropy import CrossEntropyMethod
from vjepa.training.world_model_run import read_world_model

SCALE, GAP = 4, 8  # a film's pixels for each of the world's; between episodes
WHITE, GOLD, GREEN = (235, 235, 235), (255, 200, 60), (90, 250, 120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("film", type=Path)
    parser.add_argument("--layouts", choices=["fixed", "random"], default="fixed")
    parser.add_argument("--episodes", type=int, default=4)
    parser.add_argument("--steps", type=int, default=72)
    parser.add_argument("--seed", type=int, default=1_000_003)
    given = parser.parse_args()
    model, suite = read_world_model(given.run).model, TwoRooms(given.layouts)
    tasks = suite.tasks(given.episodes, given.seed)
    read_out = fit_read_out(model, suite, "test", given.seed + 1)
    policy = ModelPolicy(model, CrossEntropyMethod(), model.frame_step)
    world = suite.begin(tasks)
    policy.begin(suite, tasks)
    states, pictures, imagined = [world.states], [], []
    for step in range(given.steps):
        action = policy.act(world)
        if step % (policy.replan_every * model.frame_step) == 0:  # it has just planned
            found = enumerate(policy.plans)
            imagined = [read_out.states(policy.imagination(k)(plan.actions[None])[0]) for k, plan in found]
        if step % 2 == 0:
            pictures.append(drawn(world.render(), np.stack(states, axis=1), imagined, tasks.goals))
        world.step(action)
        states.append(world.states)
    frames = [Image.fromarray(picture) for picture in [*pictures, *[pictures[-1]] * 8]]
    with new_file(given.film) as temporary:
        frames[0].save(
            temporary, format="WEBP", save_all=True, append_images=frames[1:], duration=90, loop=0, quality=70
        )
    print(f"{given.film}: {len(frames)} frames, {given.film.stat().st_size / 1e6:.2f} MB")


def drawn(
    frames: np.ndarray,  # (K, H, W, 3) uint8
    states: np.ndarray,  # (K, steps, 2), so far
    imagined: list[np.ndarray],  # (H, 2) each
    goals: np.ndarray,  # (K, 2)
) -> np.ndarray:
    """One picture of all episodes, side by side."""
    parts = []
    for frame, way, plan, goal in zip(frames, states, imagined, goals, strict=True):
        canvas = frame.repeat(SCALE, axis=0).repeat(SCALE, axis=1)
        for points, colour, width in ((way, WHITE, 2), (np.concatenate([way[-1:], plan]), GOLD, 1)):
            cv2.polylines(canvas, [in_pixels(points)], False, colour, width, cv2.LINE_AA)
        for point in in_pixels(plan):
            cv2.circle(canvas, point.tolist(), 2, GOLD, -1, cv2.LINE_AA)
        cv2.circle(canvas, in_pixels(goal[None])[0].tolist(), 3 * SCALE, GREEN, 2, cv2.LINE_AA)
        parts += [canvas, np.full((len(canvas), GAP, 3), 255, np.uint8)]
    return np.concatenate(parts[:-1], axis=1)


def in_pixels(points: np.ndarray) -> np.ndarray:
    return np.round(points * SCALE).astype(np.int32)


if __name__ == "__main__":
    main()
