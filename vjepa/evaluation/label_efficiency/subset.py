"""A manifest of some unlabelled clips: a random subset that depends on the seed alone."""

from pathlib import Path
from typing import Any

import numpy as np

from vjepa.data.atomic_file import write_table
from vjepa.data.manifest.manifest import FACT_COLUMNS, Manifest, fact_columns, read_manifest
from vjepa.data.randomness import Purpose, generator_for


def training_files(recipe: dict[str, Any]) -> Manifest:
    """What a recipe of pretraining trains on. Raises ValueError where that is not one manifest."""
    data = recipe["data"]["init_args"]
    if not data.get("train_manifest"):
        raise ValueError("unlabelled clips are counted out of one manifest; give a recipe with a train_manifest")
    return read_manifest(data["train_manifest"], data.get("root"), data.get("train_split"))


def write_subset(manifest: Manifest, num_clips: int, seed: int, file: Path) -> None:
    """Write the paths of `num_clips` random rows, without labels. A smaller subset of a seed is part of a larger one.

    Raises ValueError where there are not so many.
    """
    if not 0 < num_clips <= len(manifest):
        raise ValueError(
            f"there are {len(manifest)} clips in {manifest.source}, so unlabelled ({num_clips}) must lie between 1 and "
            f"that, or be 'all'"
        )
    rows = np.sort(generator_for(seed, Purpose.UNLABELLED_ROWS).permutation(len(manifest))[:num_clips])
    file.parent.mkdir(parents=True, exist_ok=True)
    write_table(file, ["path", "start", "end", *FACT_COLUMNS], [_cells(manifest, row) for row in rows.tolist()])


def _cells(manifest: Manifest, row: int) -> dict[str, Any]:
    start, end = ("" if time is None else time for time in manifest.window(row))
    facts = manifest.facts(row)
    path = str(Path(manifest.paths[row]).absolute()) if "://" not in manifest.paths[row] else manifest.paths[row]
    return {"path": path, "start": start, "end": end} | ({} if facts is None else fact_columns(facts))
