"""Renders an embedded dataset that a recipe names and that is not there yet, as `make` does before it starts a run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vjepa.data.synthetic.dataset import FOLDERS, write_dataset
from vjepa.processors import started_processes


def render_embedded_data(settings: Any) -> None:
    """Render what is missing of the embedded datasets that settings (nested, plain) name, in the current folder.

    Raises ValueError where several processes were started, which would all write it.
    """
    values = set(_strings(settings))
    for name, folder in FOLDERS.items():
        if not any(Path(value).parent == Path(folder) for value in values) or Path(folder, "dataset.json").exists():
            continue
        difficulty = "hard" if name == "hard" else "normal"
        world = "physics" if name == "physics" else "motions"
        if started_processes()[0] > 1:
            flags = "" if name == "motions" else " --difficulty=hard" if name == "hard" else " --world=physics"
            raise ValueError(f"there is no {folder}, and several processes were started; run `vjepa make-data{flags}`")
        print(f"there is no {folder} here; rendering the embedded dataset, once")
        write_dataset(folder, difficulty=difficulty, world=world)  # type: ignore[arg-type]


def _strings(content: Any) -> Iterator[str]:
    if isinstance(content, dict | list | tuple):
        for each in content.values() if isinstance(content, dict) else content:
            yield from _strings(each)
    elif isinstance(content, str | Path):
        yield str(content)
