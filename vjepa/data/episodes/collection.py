"""Episodes collected in a simulated world: a folder of plain arrays, written as they come, whole or not at all.

* `frames.npy` (F, H, W, 3) uint8: every `frame_interval`-th frame of each episode, the one at time 0 first;
* `actions.npy` (R, A) float32: one row for every raw step;
* `states.npy` (F, S) float32: at the kept frames;
* `episodes.json`: the format's name, `frame_interval`, raw steps of each episode, and what the world was.

Arrays are memory-mapped: opening a collection of any size takes no time and no memory.
"""

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import numpy as np

from vjepa.data.episodes.frames import ArrayFrames, FrameSource, LoadedFrames
from vjepa.data.episodes.store import Episodes, RecordedLimit, check_finite, starts_of

FORMAT = "vjepa episodes 1"
FACTS_FILE = "episodes.json"
ARRAYS = ("frames", "actions", "states")


class Collection(Episodes):
    """The episodes of such a folder (an EpisodeStore), and what is known of their world.

    Args:
        root: the folder.
        resize: height and width to make of the frames.
        cache_gigabytes: of frames that are resized; others are read from the map.

    Raises:
        ValueError: it is no such folder, or its arrays don't fit together.
    """

    def __init__(self, root: Path | str, resize: tuple[int, int] | None = None, cache_gigabytes: float = 2.0):
        self._opened = (root, resize, cache_gigabytes)
        root = Path(root)
        facts = _read_facts(root)
        frames, actions, states = (_mapped(root / f"{name}.npy") for name in ARRAYS)
        lengths = np.array(facts["lengths"], np.int64)
        num_kept = lengths // facts["frame_interval"] + 1
        _check_shapes(root, frames, actions, states, int(lengths.sum()), int(num_kept.sum()))
        check_finite(actions, lambda row: f"actions of {root} at row {row}")
        firsts = starts_of(num_kept)
        source: FrameSource = ArrayFrames(frames, firsts)
        if resize is not None and tuple(resize) != source.frame_size:
            load = _RowsOfArray(frames, firsts)
            source = LoadedFrames(load, num_kept.tolist(), source.frame_size, resize, cache_gigabytes)
        limit = facts.get("action_limit")
        limit = None if limit is None else RecordedLimit(limit["size"], limit["kind"])
        super().__init__(lengths, actions, states, source, facts["frame_interval"], action_limit=limit)
        self.root = root
        self.world: dict[str, Any] = facts.get("world", {})
        self.unit: str = facts.get("unit", "")

    def __reduce__(self) -> tuple[type, tuple]:  # a worker that is spawned maps the arrays anew
        return Collection, self._opened


class _RowsOfArray:
    def __init__(self, array: np.ndarray, firsts: np.ndarray):
        self.array = array
        self.firsts = firsts

    def __call__(self, episode: int, numbers: np.ndarray) -> np.ndarray:
        return self.array[self.firsts[episode] + numbers]


def is_collection(root: Path) -> bool:
    return (root / FACTS_FILE).is_file()


def _read_facts(root: Path) -> dict[str, Any]:
    path = root / FACTS_FILE
    if not path.is_file():
        raise ValueError(f"{root} is no collection of episodes: there is no {FACTS_FILE} in it")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        found = facts.get("format") if isinstance(facts, dict) else None
        raise ValueError(f"the format that {path} states ({found}) must be '{FORMAT}'")
    facts.setdefault("frame_interval", facts.get("kept_every"))  # older versions
    if not facts["lengths"]:
        raise ValueError(f"there are no episodes in {root}")
    return facts


def _mapped(path: Path) -> np.ndarray:
    if not path.is_file():
        raise ValueError(f"there is no file {path}; the collection is not whole, collect it again")
    array = np.load(path, mmap_mode=None if _is_empty(path) else "r", allow_pickle=False)
    return array.view(np.ndarray)  # np.memmap's own indexing is slower


def _is_empty(path: Path) -> bool:  # states of a world without any; there is nothing to map
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, _ = np.lib.format.read_array_header_1_0(file)
    return 0 in shape


def _check_shapes(
    root: Path, frames: np.ndarray, actions: np.ndarray, states: np.ndarray, num_steps: int, num_kept: int
) -> None:
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"frames of {root} must be (F, H, W, 3) uint8, not {frames.shape} {frames.dtype}")
    for name, array, rows in (
        ("frames", frames, num_kept),
        ("actions", actions, num_steps),
        ("states", states, num_kept),
    ):
        if len(array) != rows:
            raise ValueError(f"{root} has {len(array)} rows of {name}, but its episodes need {rows}")


@runtime_checkable
class HasLimit(Protocol):
    @property
    def size(self) -> float: ...

    @property
    def kind(self) -> str: ...


class CollectionWriter:
    """Writes a collection episode by episode, in little memory; the folder appears when all is written.

    Use it in a `with` statement: an error inside, or a kill, leaves no folder behind that looks whole.

    Args:
        folder: to be made; must not be there yet.
        frame_interval: raw steps between two kept frames.
        world: settings of the world, as they should be remembered.
        action_limit: of the actions; an ActionLimit, or anything with its `size` and `kind`.
        unit: of states.
    """

    def __init__(
        self,
        folder: Path | str,
        frame_interval: int = 1,
        world: Mapping[str, Any] | None = None,
        action_limit: HasLimit | None = None,
        unit: str = "",
    ):
        self.folder = Path(folder)
        if frame_interval < 1:
            raise ValueError(f"frame_interval ({frame_interval}) must be at least 1")
        if self.folder.exists():
            raise ValueError(f"{self.folder} is there already; give another folder, or remove it")
        self.frame_interval = frame_interval
        self.lengths: list[int] = []
        self._facts = {
            "world": dict(world or {}),
            "action_limit": None if action_limit is None else {"size": action_limit.size, "kind": action_limit.kind},
            "unit": unit,
        }

    def __enter__(self) -> "CollectionWriter":
        self._temporary = self.folder.with_name(f".{self.folder.name}.{os.getpid()}.tmp")
        self._temporary.mkdir(parents=True)
        self._arrays = {name: _GrowingArray(self._temporary / f"{name}.npy") for name in ARRAYS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for array in self._arrays.values():
                array.close()
            if error is None:
                self._finish()
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def add(
        self,
        frames: np.ndarray,  # (L // frame_interval + 1, H, W, 3) uint8
        actions: np.ndarray,  # (L, A)
        states: np.ndarray | None = None,  # (L // frame_interval + 1, S)
    ) -> None:
        """Append one episode of L raw steps. Raises ValueError where its parts don't fit together or those before."""
        states = np.zeros((len(frames), 0)) if states is None else states
        num_kept = len(actions) // self.frame_interval + 1
        if frames.dtype != np.uint8 or len(frames) != num_kept or len(states) != num_kept:
            raise ValueError(
                f"an episode of {len(actions)} raw steps has {len(frames)} frames ({frames.dtype}) and {len(states)} "
                f"states; with frame_interval {self.frame_interval} it must have {num_kept} uint8 "
                "frames and as many states"
            )
        check_finite(np.asarray(actions), lambda row: f"actions of episode {len(self.lengths)} at row {row}")
        for name, rows in (("frames", frames), ("actions", actions), ("states", states)):
            self._arrays[name].append(rows if name == "frames" else np.asarray(rows, np.float32))
        self.lengths.append(len(actions))

    def add_batch(
        self,
        frames: np.ndarray,  # (B, L // frame_interval + 1, H, W, 3) uint8
        actions: np.ndarray,  # (B, L, A)
        states: np.ndarray,  # (B, L // frame_interval + 1, S)
    ) -> None:
        """Append episodes that ran together."""
        for episode in zip(frames, actions, states, strict=True):
            self.add(*episode)

    def _finish(self) -> None:
        if not self.lengths:
            raise ValueError(f"there is no episode to write to {self.folder}")
        facts = {"format": FORMAT, "frame_interval": self.frame_interval, "lengths": self.lengths, **self._facts}
        with (self._temporary / FACTS_FILE).open("w", encoding="utf-8") as file:
            json.dump(facts, file)
            file.flush()
            os.fsync(file.fileno())
        self._temporary.rename(self.folder)


def write_episodes(
    folder: Path | str,
    episodes: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray | None]],
    **facts: Any,
) -> None:
    """Write a collection of (frames, actions, states), with what `CollectionWriter` takes beside the folder."""
    with CollectionWriter(folder, **facts) as writer:
        for episode in episodes:
            writer.add(*episode)


class _GrowingArray:
    """An .npy file whose rows are appended; its header, of a size that never changes, is written anew at the end."""

    def __init__(self, path: Path):
        self.path = path
        self._file = path.open("wb")
        self._row: tuple[tuple[int, ...], np.dtype] | None = None
        self._num_rows = 0

    def append(
        self,
        rows: np.ndarray,  # (n, ...)
    ) -> None:
        row = (rows.shape[1:], rows.dtype)
        if self._row is None:
            self._row = row
            self._write_header()
        if row != self._row:
            raise ValueError(
                f"{self.path.stem} of an episode are {row[0]} {row[1]} and those before {self._row[0]} {self._row[1]}; "
                "all episodes must be alike"
            )
        np.ascontiguousarray(rows).tofile(self._file)
        self._num_rows += len(rows)

    def close(self) -> None:
        if self._row is not None:
            self._file.flush()
            end_of_header = self._header_size
            self._file.seek(0)
            self._write_header()
            assert self._header_size == end_of_header, "the header would overwrite rows"
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def _write_header(self) -> None:
        assert self._row is not None
        shape, dtype = self._row
        facts = {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": (self._num_rows, *shape),
        }
        np.lib.format.write_array_header_1_0(self._file, facts)
        self._header_size = self._file.tell()
