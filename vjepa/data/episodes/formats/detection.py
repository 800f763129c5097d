"""Opening episodes of any format, which is found out from what is there."""

from pathlib import Path
from typing import Literal, get_args

from vjepa.data.episodes.collection import Collection, is_collection
from vjepa.data.episodes.formats.droid import TRAJECTORY, read_droid
from vjepa.data.episodes.formats.folder import TABLE, read_folder
from vjepa.data.episodes.formats.hdf5 import SUFFIXES, hdf5_files, read_hdf5
from vjepa.data.episodes.formats.lerobot import INFO, read_lerobot
from vjepa.data.episodes.formats.npz import read_npz
from vjepa.data.episodes.store import EpisodeStore

EpisodeFormat = Literal["auto", "collection", "folder", "hdf5", "npz", "lerobot", "droid"]


def open_episodes(
    root: Path | str,
    format: EpisodeFormat = "auto",
    resize: tuple[int, int] | None = None,
    camera: str | None = None,
    action_key: str | None = None,
    state_key: str | None = None,
    frames_per_second: float | None = None,
    cache_gigabytes: float = 2.0,
) -> EpisodeStore:
    """Episodes on the disk.

    Args:
        root: a folder, or the one file.
        format: of what is there; "auto" looks for the files that tell.
        resize: height and width to make of every frame, whatever its shape; frames must be of one size if None.
        camera: whose frames, where there are several; the first, or DROID's left one, if None.
        action_key, state_key: names of the arrays of actions and states; the usual ones if None.
        frames_per_second: to which DROID's videos are thinned out; 4 if None. Other formats keep all frames.
        cache_gigabytes: memory for decoded frames, in each process that reads; see `LoadedFrames`.

    Raises:
        ValueError: there is nothing of this format, or it can't be learnt from; the message says why.
    """
    root = Path(root)
    if format not in get_args(EpisodeFormat):
        raise ValueError(f"format '{format}' must be one of {', '.join(get_args(EpisodeFormat))}")
    if not root.exists():
        raise ValueError(f"there is no file or folder {root}")
    match _format_of(root) if format == "auto" else format:
        case "collection":
            return Collection(root, resize, cache_gigabytes)
        case "folder":
            return read_folder(root, resize, action_key, state_key, cache_gigabytes)
        case "hdf5":
            return read_hdf5(root, resize, camera, action_key, state_key, cache_gigabytes)
        case "npz":
            return read_npz(root, resize, camera, action_key, state_key)
        case "lerobot":
            return read_lerobot(root, resize, camera, action_key, state_key, cache_gigabytes)
        case _:
            return read_droid(root, resize, camera, frames_per_second, cache_gigabytes)


def _format_of(root: Path) -> EpisodeFormat:
    if root.is_file():
        by_suffix: dict[str, EpisodeFormat] = {".npz": "npz", ".csv": "folder", **dict.fromkeys(SUFFIXES, "hdf5")}
        if root.suffix in by_suffix:
            return by_suffix[root.suffix]
    elif is_collection(root):
        return "collection"
    elif (root / INFO).is_file():
        return "lerobot"
    elif (root / TABLE).is_file():
        return "folder"
    elif any(root.glob("*.npz")):
        return "npz"
    elif next(root.rglob(TRAJECTORY), None) is not None:  # before HDF5: an episode's own folder has such a file
        return "droid"
    elif hdf5_files(root):
        return "hdf5"
    raise ValueError(
        f"there are no episodes at {root}: no collection (episodes.json), no {TABLE}, no {INFO}, no .npz, no .h5 or "
        f".hdf5 file, and no {TRAJECTORY} below it"
    )
