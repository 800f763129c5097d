"""Opening the files that formats consist of, with a sentence where that is not possible."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np


def open_npz(path: Path) -> "np.lib.npyio.NpzFile[Any]":
    try:
        arrays = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} is no .npz file that can be read: {error}") from None
    if not isinstance(arrays, np.lib.npyio.NpzFile):
        raise ValueError(f"{path} is no .npz file")
    return arrays


def import_h5py(needed_for: Path) -> Any:
    try:
        import h5py
    except ImportError:
        raise ValueError(f"reading {needed_for} needs h5py: pip install 'vjepa[hdf5]'") from None
    return h5py


def import_parquet(needed_for: Path) -> Any:
    try:
        from pyarrow import parquet
    except ImportError:
        raise ValueError(f"reading {needed_for} needs pyarrow: pip install 'vjepa[parquet]'") from None
    return parquet


def check_present(paths: Iterable[Path], named_by: Path) -> None:
    """Raise ValueError where files that a dataset names are absent."""
    absent = [path for path in paths if not path.is_file()]
    if absent:
        raise ValueError(f"{len(absent)} of the files that {named_by} names are not there, the first is {absent[0]}")
