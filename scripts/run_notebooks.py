"""Run the notebooks from top to bottom, in a copy: `make notebooks`, or `make notebooks ARGS="features masks"`.

Recipes, data and runs of this folder are seen through links; what a notebook writes is gone afterwards. Notebooks run
one after another in one copy, so that a model that one of them trains is there for the next.
"""

import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).parents[1]
SECONDS_FOR_A_CELL = 1800  # on two slow cores


def main(names: list[str]) -> None:
    files = [ROOT / "notebooks" / f"{name}.ipynb" for name in names] or sorted((ROOT / "notebooks").glob("*.ipynb"))
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        (copy / "configs").symlink_to(ROOT / "configs")
        for parent in ("data", "runs"):
            (copy / parent).mkdir()
            for entry in (ROOT / parent).glob("*"):
                (copy / parent / entry.name).symlink_to(entry)
        failed = [file.stem for file in files if not runs(file, copy)]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def runs(file: Path, folder: Path) -> bool:
    """Whether a notebook runs in this folder; says so, with the time or the error."""
    started = time.monotonic()
    notebook = nbformat.read(file, as_version=4)
    client = NotebookClient(notebook, timeout=SECONDS_FOR_A_CELL, resources={"metadata": {"path": str(folder)}})
    try:
        client.execute()
    except CellExecutionError as error:
        print(f"{file.name}: {error}", flush=True)
        return False
    print(f"{file.name}: {time.monotonic() - started:.0f} s", flush=True)
    return True


if __name__ == "__main__":
    main(sys.argv[1:])
