"""Collections: episodes of a simulated world as a folder of plain arrays, written atomically, episode by episode.

* `frames.npy` (F, H, W, 3) uint8: every `frame_interval`-th frame of each episode, from time 0;
* `actions.npy` (R, A) float32: one row per raw step;
* `states.npy` (F, S) float32: at the stored frames;
* `episodes.json`: the format's name, `frame_interval`, raw steps of each episode, and the world's settings.

Arrays are memory-mapped: opening a collection of any size takes no time and no memory.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from vjepa.data.episodes.formats.files import entry, read_json
from vjepa.data.episodes.frames import ArrayFrames, ArraySource, FrameSource, LazySource
from vjepa.data.episodes.recordings import ReadOptions
from vjepa.data.episodes.store import EpisodeStore, check_finite, offsets
from vjepa.planning.limits import ActionLimit

FORMAT = "vjepa episodes 1"
FACTS_FILE = "episodes.json"
ARRAYS = ("frames", "actions", "states")


class Collection(EpisodeStore):
    """The episodes of such a folder, and the settings of their world.

    Args:
        root: the folder.
        resize: height and width of the frames; as stored if None.
        cache_gigabytes: of resized frames; others are read from the map.

    Raises:
        ValueError: it is no such folder, or its arrays don't fit together.
    """

    def __init__(self, root: Path | str, resize: tuple[int, int] | None = None, cache_gigabytes: float = 2.0):
        self._arguments = (root, resize, cache_gigabytes)
        self.root = Path(root)
        facts = _read_facts(self.root)
        frames, actions, states = (_mapped(self.root / f"{name}.npy") for name in ARRAYS)
        lengths = np.array(facts["lengths"], np.int64)
        num_frames = lengths // facts["frame_interval"] + 1
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise ValueError(f"frames of {root} must be (F, H, W, 3) uint8, not {frames.shape} {frames.dtype}")
        needed = {"frames": num_frames.sum(), "actions": lengths.sum(), "states": num_frames.sum()}
        for (name, rows), array in zip(needed.items(), (frames, actions, states), strict=True):
            if len(array) != rows:
                raise ValueError(f"{root} has {len(array)} rows of {name}, but its episodes need {rows}")
        check_finite(actions, lambda row: f"actions of {root} at row {row}")
        source: FrameSource = ArraySource(frames, offsets(num_frames))
        if resize is not None and tuple(resize) != source.frame_size:
            episodes = [ArrayFrames(part) for part in np.split(frames, np.cumsum(num_frames)[:-1])]
            source = LazySource(episodes, resize, cache_gigabytes)
        try:
            limit = None if facts.get("action_limit") is None else ActionLimit(**facts["action_limit"])
        except (TypeError, ValueError) as error:
            raise ValueError(f"action_limit of {self.root / FACTS_FILE} can't be used: {error}") from None
        super().__init__(lengths, actions, states, source, facts["frame_interval"], action_limit=limit)
        self.world: dict[str, Any] = facts.get("world", {})
        self.unit: str = facts.get("unit", "")

    def __reduce__(self) -> tuple[type["Collection"], tuple[Any, ...]]:  # a spawned worker maps the arrays anew
        return Collection, self._arguments


def detect(root: Path) -> bool:
    return (root / FACTS_FILE).is_file()


def read(root: Path, options: ReadOptions) -> Collection:
    return Collection(root, options.resize, options.cache_gigabytes)


def _read_facts(root: Path) -> dict[str, Any]:
    path = root / FACTS_FILE
    if not path.is_file():
        raise ValueError(f"{root} is no collection of episodes: there is no {FACTS_FILE} in it")
    facts = read_json(path)
    if facts.get("format") != FORMAT:
        raise ValueError(f"the format that {path} states ({facts.get('format')}) must be '{FORMAT}'")
    if "kept_every" in facts:  # its name in older versions
        facts["frame_interval"] = facts["kept_every"]
    lengths, interval = entry(facts, "lengths", list, str(path)), entry(facts, "frame_interval", int, str(path))
    if not lengths:
        raise ValueError(f"there are no episodes in {root}")
    if interval < 1 or not all(type(length) is int and length >= 0 for length in lengths):
        raise ValueError(f"lengths and frame_interval of {path} must be whole numbers of raw steps; collect it again")
    return facts


def _mapped(path: Path) -> Shaped[np.ndarray, "..."]:
    if not path.is_file():
        raise ValueError(f"there is no file {path}; the collection is not whole, collect it again")
    try:
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError:  # an empty array can't be mapped: states of a world without any
            array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise ValueError(f"{path} is no .npy file, or it is cut short; collect it again") from None
    return array.view(np.ndarray)  # np.memmap's own indexing is slower


class CollectionWriter:
    """Writes a collection episode by episode, in little memory; the folder appears when it is complete.

    Use it in a `with` statement: after an error inside or a kill, there is no folder that looks complete.

    Args:
        folder: to be made; must not exist.
        frame_interval: raw steps between stored frames.
        world: settings of the world.
        action_limit: of the actions.
        unit: of states.
    """

    def __init__(
        self,
        folder: Path | str,
        frame_interval: int = 1,
        world: Mapping[str, Any] | None = None,
        action_limit: ActionLimit | None = None,
        unit: str = "",
    ):
        self.folder = Path(folder)
        if frame_interval < 1:
            raise ValueError(f"frame_interval ({frame_interval}) must be at least 1")
        if self.folder.exists():
            raise ValueError(f"{self.folder} is there already; give another folder, or remove it")
        self.frame_interval = frame_interval
        self.lengths: list[int] = []
        limit = None if action_limit is None else asdict(action_limit)
        self._facts = {"world": dict(world or {}), "action_limit": limit, "unit": unit}

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
        frames: Shaped[np.ndarray, "frames H W 3"],
        actions: Float[np.ndarray, "L A"],
        states: Float[np.ndarray, "states S"] | None = None,
    ) -> None:
        """Append an episode. Raises ValueError where its parts don't fit each other or earlier episodes."""
        states = np.zeros((len(frames), 0)) if states is None else states
        num_frames = len(actions) // self.frame_interval + 1
        if frames.dtype != np.uint8 or len(frames) != num_frames or len(states) != num_frames:
            raise ValueError(
                f"an episode of {len(actions)} raw steps has {len(frames)} frames ({frames.dtype}) and {len(states)} "
                f"states; with frame_interval {self.frame_interval} it must have {num_frames} uint8 frames and as many "
                "states"
            )
        check_finite(np.asarray(actions), lambda row: f"actions of episode {len(self.lengths)} at row {row}")
        self._arrays["frames"].append(frames)
        self._arrays["actions"].append(np.asarray(actions, np.float32))
        self._arrays["states"].append(np.asarray(states, np.float32))
        self.lengths.append(len(actions))

    def _finish(self) -> None:
        if not self.lengths:
            raise ValueError(f"there is no episode to write to {self.folder}")
        facts = {"format": FORMAT, "frame_interval": self.frame_interval, "lengths": self.lengths, **self._facts}
        with (self._temporary / FACTS_FILE).open("w", encoding="utf-8") as file:
            json.dump(facts, file)
            file.flush()
            os.fsync(file.fileno())
        self._temporary.rename(self.folder)


class _GrowingArray:
    """An .npy file whose rows are appended. NumPy's header has room for the number of rows, which is written last.

    `np.lib.format.open_memmap` would need that number at the start.
    """

    def __init__(self, path: Path):
        self._name = path.stem
        self._file = path.open("wb")
        self._header: dict[str, Any] | None = None
        self._num_rows = 0

    def append(self, rows: Shaped[np.ndarray, "n ..."]) -> None:
        header = {**np.lib.format.header_data_from_array_1_0(np.ascontiguousarray(rows)), "shape": rows.shape[1:]}
        if self._header is None:
            self._header = header
            self._write_header()
        if header != self._header:
            before = self._header
            raise ValueError(
                f"{self._name} of an episode are {rows.shape[1:]} {rows.dtype} and those before {before['shape']} "
                f"{np.dtype(before['descr'])}; all episodes must be alike"
            )
        np.ascontiguousarray(rows).tofile(self._file)
        self._num_rows += len(rows)

    def close(self) -> None:
        self._file.seek(0)
        self._write_header()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def _write_header(self) -> None:
        if self._header is not None:
            shape = (self._num_rows, *self._header["shape"])
            np.lib.format.write_array_header_1_0(self._file, {**self._header, "shape": shape})
