"""The synthetic world on disk: H.264 clips, object masks and manifests.

Clip i of a split is a function of (seed, split, i) alone: neither the number of workers nor an interruption changes a
byte of it.
"""

import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vjepa.data.atomic_file import new_file, write_json, write_table
from vjepa.data.manifest.manifest import FACT_COLUMNS, fact_columns
from vjepa.data.progress import report_progress
from vjepa.data.synthetic import hard_world
from vjepa.data.synthetic.matched_pairs import (
    PAIR_COLUMNS,
    TRAIN_COLUMNS,
    check_physics_arguments,
    draw_physics_clip,
)
from vjepa.data.synthetic.physics import PROPERTIES
from vjepa.data.synthetic.render import render
from vjepa.data.synthetic.world import MOTIONS, WorldState, roll_out, sample_world
from vjepa.data.video.encoding import KEYFRAME_INTERVAL, encode_video
from vjepa.data.video.facts import VideoFacts
from vjepa.processors import count_processors

FORMAT_VERSION = 3  # raise it when the same arguments give other files
World = Literal["motions", "physics"]
Difficulty = Literal["normal", "hard"]
FOLDERS: dict[str, str] = {"motions": "data/synthetic", "hard": "data/synthetic_hard", "physics": "data/physics"}
MOTIONS_OF: dict[Difficulty, tuple[str, ...]] = {"normal": MOTIONS, "hard": tuple(hard_world.MOTIONS)}
SPLITS = ("train", "val", "test")
COLUMNS = ("path", "label", "motion_id", "shape", "texture", "colour", "num_objects", "mask", *FACT_COLUMNS)
PHYSICS_COLUMNS = {split: ("path", *PAIR_COLUMNS, "mask", *FACT_COLUMNS) for split in ("val", "test")}
PHYSICS_COLUMNS["train"] = ("path", *TRAIN_COLUMNS, "mask", *FACT_COLUMNS)
CLIPS_PER_TASK = 25  # that one worker renders at a time

Row = dict[str, str | int]
Arguments = dict[str, Any]  # numbers; difficulty and world unless they are normal and motions
Bytes = NDArray[np.uint8]


def write_dataset(
    folder: str | Path | None = None,
    num_train: int = 4000,
    num_val: int = 500,
    num_test: int = 1000,
    num_frames: int = 32,
    size: int = 64,
    fps: int = 16,
    seed: int = 0,
    difficulty: Difficulty = "normal",
    world: World = "motions",
    num_workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Make the dataset in `folder` unless it exists, and return the folder.

    Writes `videos/{split}/{00000}.mp4`, `masks/{split}/{00000}.npz` (key `mask`, (T, H, W) uint8), `{split}.csv` with
    the columns of COLUMNS or PHYSICS_COLUMNS, and finally `dataset.json`. An interrupted call is resumed. A script that
    calls this needs the usual `if __name__ == "__main__":`, because its worker processes import it.

    Args:
        folder: of the dataset; data/synthetic, data/synthetic_hard or data/physics if None.
        num_train: clips to train on.
        num_val: clips to choose by.
        num_test: clips to score once.
        num_frames: frames of a clip.
        size: width and height of a clip in pixels.
        fps: frames per second.
        seed: of every clip.
        difficulty: of motions; hard: 24 of them, moving camera, distractors.
        world: "motions", or "physics": possible films, and in val and test pairs of possible and impossible ones.
        num_workers: processes; one per processor if None, this process alone for 0 or 1.
        progress: show it.
    """
    if world == "physics" and difficulty != "normal":
        raise ValueError(
            f"difficulty ({difficulty}) belongs to the world of motions; leave it out, or give world=motions"
        )
    folder = Path(folder or FOLDERS["hard" if difficulty == "hard" else world])
    counts = {"train": num_train, "val": num_val, "test": num_test}
    arguments: Arguments = {"num_train": num_train, "num_val": num_val, "num_test": num_test}
    arguments |= {"num_frames": num_frames, "size": size, "fps": fps, "seed": seed}
    if difficulty != "normal":  # which older datasets do not name
        arguments["difficulty"] = difficulty
    if world != "motions":
        arguments["world"] = world
    check_arguments(arguments)
    if is_finished(folder, arguments):
        return folder

    for split in SPLITS:
        (folder / "videos" / split).mkdir(parents=True, exist_ok=True)
        (folder / "masks" / split).mkdir(parents=True, exist_ok=True)
    settings = (num_frames, size, fps, seed, difficulty, world)
    tasks = [
        Task(folder, split, range(first, min(first + CLIPS_PER_TASK, counts[split])), *settings)
        for split in SPLITS
        for first in range(0, counts[split], CLIPS_PER_TASK)
    ]
    results = run_tasks(tasks, count_processors() if num_workers is None else num_workers)
    if progress:
        results = report_progress(results, sum(counts.values()), f"synthetic clips in {folder}", len)
    rows: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for task, task_rows in zip(tasks, results, strict=True):
        rows[task.split] += task_rows

    for split in SPLITS:
        write_table(folder / f"{split}.csv", PHYSICS_COLUMNS[split] if world == "physics" else COLUMNS, rows[split])
    for leftover in folder.glob("*/*/.*.tmp"):  # of writers that were killed
        leftover.unlink(missing_ok=True)
    facts: dict[str, Any] = {"columns": COLUMNS, "motions": MOTIONS_OF[difficulty]}
    if world == "physics":
        facts = {"columns": PHYSICS_COLUMNS, "properties": PROPERTIES}
    facts["counts"] = {split: len(rows[split]) for split in SPLITS}
    write_json(folder / "dataset.json", {"format_version": FORMAT_VERSION, "arguments": arguments, **facts}, indent=2)
    (folder / "dataset.partial.json").unlink(missing_ok=True)
    return folder


def clip_state(seed: int, split: str, index: int, size: int) -> WorldState:
    """The first state of clip `index` of normal difficulty."""
    return sample_world(*clip_draws(MOTIONS, seed, split, index), size)


def clip_draws(motions: Sequence[str], seed: int, split: str, index: int) -> tuple[np.random.Generator, str]:
    """The random numbers and the motion of clip `index`.

    Every `len(motions)` clips in a row show each motion class once, in a shuffled order.
    """
    split_number, (group, position) = SPLITS.index(split), divmod(index, len(motions))
    order = np.random.default_rng([seed, split_number, 0, group]).permutation(len(motions))
    return np.random.default_rng([seed, split_number, 1, index]), motions[order[position]]


@dataclass(frozen=True)
class Task:
    """Some clips of a split."""

    folder: Path
    split: str
    indices: range
    num_frames: int
    size: int
    fps: int
    seed: int
    difficulty: Difficulty
    world: World

    def draw(self, index: int) -> tuple[Row, Callable[[], tuple[Bytes, Bytes]]]:
        """Manifest columns of a clip, and what renders its frames and masks."""
        if self.world == "physics":
            seed = (self.seed, SPLITS.index(self.split))
            clip = draw_physics_clip(seed, index, self.split != "train", self.num_frames, self.size)
            return clip.facts, lambda: (clip.frames, clip.masks)
        motions = MOTIONS_OF[self.difficulty]
        if self.difficulty == "hard":
            rng, motion = clip_draws(motions, self.seed, self.split, index)
            hard = hard_world.draw_clip(rng, motion, self.size, self.num_frames)
            return motion_columns(hard.states[0], motions), lambda: hard_world.render_hard(hard)
        state = clip_state(self.seed, self.split, index, self.size)
        return motion_columns(state, motions), lambda: render(roll_out(state, self.num_frames))


def write_clips(task: Task) -> list[Row]:
    """Write the missing clips; return the manifest rows of all."""
    return [write_clip(task, index) for index in task.indices]


def write_clip(task: Task, index: int) -> Row:
    """Write a clip and its masks unless they exist; return its manifest row."""
    video, mask = f"videos/{task.split}/{index:05d}.mp4", f"masks/{task.split}/{index:05d}.npz"
    known, render_clip = task.draw(index)
    if not ((task.folder / video).exists() and (task.folder / mask).exists()):
        frames, object_masks = render_clip()
        with new_file(task.folder / mask) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, mask=object_masks)
        with new_file(task.folder / video) as temporary:
            encode_video(temporary, frames, task.fps, lookahead=task.world == "motions")
    # As a scan would find them (a test compares), so that no training run needs to scan.
    facts = VideoFacts(
        num_frames=task.num_frames,
        fps=float(task.fps),
        width=task.size,
        height=task.size,
        container="mov",
        codec="h264",
        pixel_format="yuv420p",
        keyframe_interval=min(KEYFRAME_INTERVAL, task.num_frames),
    )
    return {"path": video, **known, "mask": mask, **fact_columns(facts)}


def motion_columns(state: WorldState, motions: Sequence[str]) -> Row:
    """The manifest columns of a clip with this first state."""
    shape = state.shapes[0]
    return {
        "label": state.motion,
        "motion_id": motions.index(state.motion),
        "shape": shape.kind,
        "texture": shape.texture,
        "colour": shape.colour,
        "num_objects": len(state.shapes),
    }


def run_tasks(tasks: list[Task], num_workers: int) -> Iterator[list[Row]]:
    """The results of `write_clips`, task by task."""
    if num_workers <= 1:
        yield from map(write_clips, tasks)
        return
    # Spawned, not forked: a fork copies the locks of the caller's threads.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max(1, min(num_workers, len(tasks))), mp_context=spawn) as pool:
        yield from pool.map(write_clips, tasks)


def check_arguments(arguments: Arguments) -> None:
    size, num_frames, fps = arguments["size"], arguments["num_frames"], arguments["fps"]
    if size < 16 or size % 2:
        raise ValueError(f"size ({size}) must be an even number of pixels, 16 or more; try {max(16, size + size % 2)}")
    if num_frames < 1 or fps < 1:
        raise ValueError(f"num_frames ({num_frames}) and fps ({fps}) must be 1 or more; try num_frames=32, fps=16")
    for name in ("num_train", "num_val", "num_test", "seed"):
        if arguments[name] < 0:
            raise ValueError(f"{name} ({arguments[name]}) must not be negative; try {name}=0")
    if arguments.get("world") == "physics":
        check_physics_arguments(num_frames, num_val=arguments["num_val"], num_test=arguments["num_test"])


def is_finished(folder: Path, arguments: Arguments) -> bool:
    """Whether the dataset is complete; if not, claim the folder for it. A folder that holds another one is refused."""
    for name in ("dataset.json", "dataset.partial.json"):
        if (folder / name).exists():
            _require_same(folder, json.loads((folder / name).read_text()), arguments)
            return name == "dataset.json"
    for name in ("videos", "masks"):
        if (folder / name).exists():
            raise ValueError(
                f"{folder / name} exists without a dataset.json, and two datasets must not mix; "
                f"delete it or choose another folder"
            )
    folder.mkdir(parents=True, exist_ok=True)
    claim = {"format_version": FORMAT_VERSION, "arguments": arguments}
    write_json(folder / "dataset.partial.json", claim, indent=2)
    return False


def _require_same(folder: Path, found: dict[str, Any], arguments: Arguments) -> None:
    """Raise ValueError if the folder's dataset has other arguments or another version."""
    normal = {"difficulty": "normal", "world": "motions"}
    before = normal | {"format_version": found.get("format_version"), **found.get("arguments", {})}
    now = normal | {"format_version": FORMAT_VERSION, **arguments}
    differences = [f"{k}={before.get(k)} instead of {value}" for k, value in now.items() if before.get(k) != value]
    if differences:
        raise ValueError(
            f"{folder} holds a synthetic dataset with {', '.join(differences)}, and a folder can hold only one; "
            f"choose another folder, delete its videos/, masks/ and dataset*.json, or ask for the same arguments"
        )
