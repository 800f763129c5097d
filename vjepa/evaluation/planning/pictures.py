"""Pictures of goal reaching in worlds whose states begin with x and y in pixels: paths, an energy landscape, a film."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from vjepa.data.atomic_file import new_file
from vjepa.data.video.encoding import encode_video
from vjepa.envs.world import Suite, Tasks
from vjepa.evaluation.figures import require_matplotlib, save_figure
from vjepa.evaluation.planning.goal_reaching import Replay
from vjepa.evaluation.planning.model_policy import ModelPolicy, encode_one_by_one
from vjepa.evaluation.planning.read_out import ReadOut, latents_at
from vjepa.training.world_model import WorldModel

ENLARGED = 4  # a film's pixels for each of the world's
GAP = 2  # of the world's pixels, between parts of a film
FRAMES_PER_SECOND = 20
GRID = 37  # positions along each side of the energy landscape


def first_imagined(policy: ModelPolicy, suite: Suite, tasks: Tasks, read_out: ReadOut) -> list[np.ndarray]:  # (H, S)
    """States along the imagined path of each episode's first plan."""
    policy.begin(suite, tasks)
    policy.act(suite.begin(tasks))
    return [read_out.states(policy.imagination(k)(plan.actions[None])[0]) for k, plan in enumerate(policy.plans)]


def draw_paths(
    replayed: Replay,  # of K episodes
    tasks: Tasks,
    imagined: Sequence[np.ndarray],  # (H, S) each
    suite: Suite,
    title: str,
    picture: Path,
) -> None:
    """For each episode the start's frame, the travelled path, and the imagined path of the first plan."""
    plt = require_matplotlib()
    columns = min(4, len(imagined))
    rows = -(-len(imagined) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3 * columns, 3.2 * rows), squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    for k, (axis, foreseen) in enumerate(zip(axes.flat, imagined, strict=False)):
        states = replayed.states[k]
        _show(axis, replayed.frames[k, 0])
        axis.plot(*states[:, :2].T, color="white", linewidth=1.2, label="travelled")
        axis.plot(
            *foreseen[:, :2].T, color="gold", marker=".", markersize=4, linewidth=0.8, label="first plan, imagined"
        )
        _mark_ends(axis, states[0], tasks.goals[k])
        closest = suite.distances(_repeated(tasks, k, len(states)), states)
        axis.set_title(f"closest {closest.min():.1f}, at the end {closest[-1]:.1f} {suite.unit}", fontsize=8)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8, facecolor="lightgrey")
    figure.suptitle(title, fontsize=10)
    save_figure(figure, picture)


def draw_energy(model: WorldModel, suite: Suite, tasks: Tasks, title: str, picture: Path, count: int = 3) -> None:
    """For each of the first tasks the planning cost at every position of the agent.

    A planner finds its way where the cost falls towards the goal by way of the door.
    """
    plt = require_matplotlib()
    count = min(count, len(tasks.seeds))
    figure, axes = plt.subplots(1, count, figsize=(3.6 * count, 3.8), squeeze=False, layout="constrained")
    goals = encode_one_by_one(model, suite.render_goals(tasks.rows(slice(count))))
    for k, axis in enumerate(axes.flat):
        x, y, states = _positions(suite, tasks, k)
        latents = latents_at(model, suite, _repeated(tasks, k, len(states)), states)
        energy = model.distance_to(goals[k])(latents).reshape(len(y), len(x)).numpy()
        _show(axis, suite.render_goals(tasks.rows(slice(k, k + 1)))[0])
        drawn = axis.contourf(x, y, energy, levels=16, cmap="viridis", alpha=0.75)
        figure.colorbar(drawn, ax=axis, shrink=0.7)
        _mark_ends(axis, tasks.starts[k], tasks.goals[k])
        row, column = np.unravel_index(int(energy.argmin()), energy.shape)
        axis.plot(x[column], y[row], "x", color="red", markersize=9, label="minimum")
        off = np.hypot(x[column] - tasks.goals[k, 0], y[row] - tasks.goals[k, 1])
        axis.set_title(f"minimum {off:.1f} {suite.unit} from the goal", fontsize=8)
        axis.set_axis_off()
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8, facecolor="lightgrey")
    figure.suptitle(title, fontsize=10)
    save_figure(figure, picture)


def write_film(
    frames: UInt8[np.ndarray, "K frames H W 3"],
    goal_frames: UInt8[np.ndarray, "K H W 3"],
    goals: Float[np.ndarray, "K S"],
    film: Path,
) -> None:
    """An mp4 of episodes in rows, each beside its goal's frame with a ring around the goal."""
    white = np.full((*frames.shape[1:3], GAP, 3), 255, np.uint8)
    marked = [
        _enlarged_with_ring(np.concatenate((episode, white, np.repeat(goal[None], len(episode), 0)), axis=2), place)
        for episode, goal, place in zip(frames, goal_frames, goals, strict=True)
    ]
    gap = np.full((len(marked[0]), ENLARGED * GAP, *marked[0].shape[2:]), 255, np.uint8)
    rows = [part for episode in marked for part in (episode, gap)][:-1]
    film.parent.mkdir(parents=True, exist_ok=True)
    with new_file(film) as temporary:
        encode_video(temporary, np.concatenate(rows, axis=1), FRAMES_PER_SECOND)


def _enlarged_with_ring(frames: np.ndarray, place: np.ndarray) -> np.ndarray:
    enlarged = frames.repeat(ENLARGED, axis=1).repeat(ENLARGED, axis=2)
    middle = (round(float(place[0]) * ENLARGED), round(float(place[1]) * ENLARGED))
    for frame in enlarged:
        cv2.circle(frame, middle, 3 * ENLARGED, (90, 250, 120), 2, cv2.LINE_AA)
    return enlarged


def _show(axis: Any, frame: np.ndarray) -> None:
    """Draw a frame in coordinates where its first pixel reaches from 0 to 1."""
    axis.imshow(frame, extent=(0, frame.shape[1], frame.shape[0], 0))


def _mark_ends(axis: Any, start: np.ndarray, goal: np.ndarray) -> None:
    axis.plot(start[0], start[1], "o", color="tomato", markersize=6, label="start")
    axis.plot(goal[0], goal[1], "*", color="lime", markersize=10, label="goal")


def _positions(suite: Suite, tasks: Tasks, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x (X,) and y (Y,) over the extent of all tasks, and the start's states (Y * X, S) moved to these positions."""
    both = np.concatenate((tasks.starts, tasks.goals))[:, :2]
    low, high = both.min(0), both.max(0)
    room = np.array([suite.frame_size[1], suite.frame_size[0]], float)
    edge = np.minimum(low, room - high).clip(0).min()  # the smallest distance of any start or goal to an edge
    x, y = (np.linspace(edge, side - edge, GRID) for side in room)
    states = np.tile(tasks.starts[k], (GRID * GRID, 1))
    states[:, :2] = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    return x, y, states


def _repeated(tasks: Tasks, k: int, count: int) -> Tasks:
    return tasks.rows(np.full(count, k))


def can_be_drawn(suite: Suite) -> bool:
    return suite.unit == "px" and suite.state_dim >= 2
