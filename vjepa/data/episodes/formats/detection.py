"""Opening episodes of any format: a module with `detect(root)` and `read(root, options)` for each."""

from pathlib import Path
from typing import Literal, Protocol, get_args

from vjepa.data.episodes import collection
from vjepa.data.episodes.formats import droid, folder, hdf5, lerobot, npz
from vjepa.data.episodes.recordings import ReadOptions
from vjepa.data.episodes.store import EpisodeStore
from vjepa.data.video.storage import where_looked_for

EpisodeFormat = Literal["auto", "collection", "folder", "hdf5", "npz", "lerobot", "droid"]


class FormatReader(Protocol):
    def detect(self, root: Path, /) -> bool: ...

    def read(self, root: Path, options: ReadOptions, /) -> EpisodeStore: ...


# In the order of detection. DROID before HDF5: the folder of one episode of DROID has an HDF5 file.
READERS: dict[EpisodeFormat, FormatReader] = {
    "collection": collection,
    "lerobot": lerobot,
    "folder": folder,
    "npz": npz,
    "droid": droid,
    "hdf5": hdf5,
}


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
    """Open a dataset of episodes.

    Args:
        root: a folder, or a single file.
        format: "auto" detects it.
        resize: height and width of every frame; as stored if None, and then frames must have one size.
        camera: one of several; the first, or DROID's left one, if None.
        action_key, state_key: names of the arrays of actions and states; the usual ones if None.
        frames_per_second: rate to which DROID's videos are subsampled; 4 if None. Other formats keep all frames.
        cache_gigabytes: memory for decoded frames, in each process that reads; see `LazySource`.

    Raises:
        ValueError: there are no episodes of this format, or they are not valid; the message says why.
    """
    root = Path(root)
    if format not in get_args(EpisodeFormat):
        raise ValueError(f"format '{format}' must be one of {', '.join(get_args(EpisodeFormat))}")
    if not root.exists():
        raise ValueError(f"there is no file or folder {root}{where_looked_for(str(root))}")
    if format == "auto":
        format = next((name for name, reader in READERS.items() if reader.detect(root)), "auto")
    if format == "auto":
        raise ValueError(
            f"there are no episodes at {root}: no collection ({collection.FACTS_FILE}), no {folder.TABLE}, "
            f"no {lerobot.INFO}, no .npz, no .h5 or .hdf5 file, and no {droid.TRAJECTORY} below it"
        )
    options = ReadOptions(resize, camera, action_key, state_key, frames_per_second, cache_gigabytes)
    return READERS[format].read(root, options)
