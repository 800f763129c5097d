"""The order of the house: what may import what (docs/architecture.md), read from the source of every module."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parents[1] / "vjepa"
# A module imports only from its own layer and from those before it.
LAYERS = (
    "grid",
    "masking",
    "models",
    "objectives",
    "planning",
    "data",
    "interop",
    "training",
    "envs",
    "evaluation",
    "monitoring",
    "cli",
)
# The same inside a layer: a room imports only from rooms before it; "" is the layer's own folder.
ROOMS = {
    "data": ("", "video", "manifest", "segmentation", "clips", "episodes", "synthetic"),
    "evaluation": (
        "",
        "probes",
        "finetuning",
        "anticipation",
        "dense",
        "embedding",
        "comparison",
        "label_efficiency",
        "planning",
        "surprise",
    ),
}
MOST_MODULES = 16  # of one folder
PURE_LAYERS = ("grid", "masking", "models", "objectives", "planning")
FRAMEWORKS = ("lightning", "pytorch_lightning", "omegaconf", "jsonargparse")
OUTSIDE_OF_LAYERS = ("__init__", "__main__", "_torchvision_on_cpu", "processors")


class Import(NamedTuple):
    file: Path
    line: int
    module: str  # what is imported, with all its dots

    @property
    def layer(self) -> str:
        """The layer, or lone module, that the importing file belongs to."""
        return self.file.relative_to(PACKAGE).parts[0].removesuffix(".py")

    def __str__(self) -> str:
        return f"{self.file.relative_to(PACKAGE.parent)}:{self.line} imports {self.module}"


def imports_of(file: Path) -> Iterator[Import]:
    """All imports of a file, those inside functions too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield Import(file, node.lineno, name.name)
        elif isinstance(node, ast.ImportFrom):
            # `from vjepa import data` imports vjepa.data; `from .x import y` is relative to the file's package.
            package = file.relative_to(PACKAGE.parent).with_suffix("").parts
            base = package[: len(package) - node.level] if node.level else ()
            module = ".".join((*base, *filter(None, [node.module])))
            if module == PACKAGE.name:
                for name in node.names:
                    yield Import(file, node.lineno, f"{module}.{name.name}")
            else:
                yield Import(file, node.lineno, module)


@pytest.fixture(scope="module")
def imports() -> list[Import]:
    return [found for file in sorted(PACKAGE.rglob("*.py")) for found in imports_of(file)]


def test_the_order_is_the_documented_one():
    order = f"`{', '.join(LAYERS)}`"
    assert order in (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8"), (
        f"docs/architecture.md must show the order of layers as it is here: {order}"
    )


def test_every_module_has_a_layer():
    unknown = {
        path.name
        for path in PACKAGE.iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").exists()) and path.stem not in (*LAYERS, *OUTSIDE_OF_LAYERS)
    }
    assert not unknown, (
        f"{', '.join(sorted(unknown))} in vjepa/ has no place in the order of layers ({', '.join(LAYERS)}); "
        "put it into one of them, or give it a place here and in docs/architecture.md"
    )


def test_modules_import_only_from_layers_to_their_left(imports: list[Import]):
    order = {layer: place for place, layer in enumerate(LAYERS)}
    wrong = [
        f"{found}, but '{found.layer}' stands before '{layer}' in: {', '.join(LAYERS)}"
        for found in imports
        if found.layer in order
        for layer in [_layer_of(found.module)]
        if order.get(layer, -1) > order[found.layer]
    ]
    assert not wrong, _listed(wrong, "move what both need to the left, or hand it in as an argument")


def test_rooms_import_only_from_rooms_to_their_left(imports: list[Import]):
    wrong = [
        f"{found}, but '{room}' stands before '{other}' in: {', '.join(ROOMS[found.layer])}"
        for found in imports
        if found.layer in ROOMS and _layer_of(found.module) == found.layer
        for room, other in [(_room_of(found.file), _room_of(_file_of(found.module)))]
        if ROOMS[found.layer].index(other) > ROOMS[found.layer].index(room)
    ]
    assert not wrong, _listed(wrong, "move what both need to the left, or hand it in as an argument")


def test_no_modules_import_each_other(imports: list[Import]):
    graph: dict[str, set[str]] = {}
    for found in imports:
        graph.setdefault(_name_of(found.file), set()).add(found.module)
    finished: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"modules import each other: {' -> '.join((*path[path.index(module) :], module))}"
        if module in graph and module not in finished:
            for imported in sorted(graph[module]):
                visit(imported, (*path, module))
            finished.add(module)

    for module in sorted(graph):
        if not module.endswith("__init__"):
            visit(module, ())


def test_no_folder_has_too_many_modules():
    modules = {folder: set(folder.glob("*.py")) - {folder / "__init__.py"} for folder in PACKAGE.rglob("*/")}
    wrong = [
        f"{folder.relative_to(PACKAGE.parent)} has {len(files)}"
        for folder, files in modules.items()
        if len(files) > MOST_MODULES
    ]
    assert not wrong, f"more than {MOST_MODULES} modules in one folder, give it a second level: {', '.join(wrong)}"


def test_nobody_inside_imports_what_stands_outside_of_the_layers(imports: list[Import]):
    wrong = [
        str(found)
        for found in imports
        if found.layer in LAYERS and _layer_of(found.module) in ("__main__", "_torchvision_on_cpu")
    ]
    assert not wrong, _listed(wrong, "vjepa/__init__.py alone uses it")


def test_pure_layers_know_no_framework(imports: list[Import]):
    wrong = [str(found) for found in imports if found.layer in PURE_LAYERS and _top(found.module) in FRAMEWORKS]
    assert not wrong, _listed(
        wrong, f"{', '.join(PURE_LAYERS)} hold tensors in, tensors out; what needs a framework belongs to 'training'"
    )


def test_nobody_imports_torchvision(imports: list[Import]):
    wrong = [str(found) for found in imports if _top(found.module) == "torchvision"]
    assert not wrong, _listed(wrong, "it does not load beside a CPU build of torch; use cv2 or torch itself")


def test_importing_data_brings_no_framework():
    script = (
        "import sys, vjepa.data\n"
        f"print(*sorted({{name.split('.')[0] for name in sys.modules}} & {{{', '.join(map(repr, FRAMEWORKS))}}}))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=PACKAGE.parent, check=True)
    assert not run.stdout.split(), (
        f"`import vjepa.data` also imports {run.stdout.strip()}: each worker process would pay for it; "
        "import it in the module that needs it, and nothing in vjepa/data/__init__.py"
    )


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("import torch.nn, numpy", ["torch.nn", "numpy"]),
        ("from vjepa.data.clips.batch import ClipBatch", ["vjepa.data.clips.batch"]),
        ("from vjepa import data, grid", ["vjepa.data", "vjepa.grid"]),
        ("from . import ema", ["vjepa.models"]),
        ("from ..data import batch", ["vjepa.data"]),
        ("from .. import training", ["vjepa.training"]),
        ("def late():\n    import lightning", ["lightning"]),
    ],
)
def test_imports_are_read_in_every_form(tmp_path, monkeypatch, source: str, modules: list[str]):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path / "vjepa")
    file = tmp_path / "vjepa" / "models" / "encoder.py"
    file.parent.mkdir(parents=True)
    file.write_text(source)
    found = list(imports_of(file))
    assert [each.module for each in found] == modules
    assert {each.layer for each in found} == {"models"}


def _layer_of(module: str) -> str | None:
    """The layer of one of our own modules; None for all others."""
    parts = module.split(".")
    return parts[1] if parts[0] == PACKAGE.name and len(parts) > 1 else None


def _file_of(module: str) -> Path:
    """The file of one of our own modules, or the folder of a package."""
    path = PACKAGE.parent.joinpath(*module.split("."))
    return path if path.is_dir() else path.with_suffix(".py")


def _name_of(file: Path) -> str:
    return ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts)


def _room_of(path: Path) -> str:
    """The second level that a file or folder belongs to; "" for the layer's own folder."""
    folders = (path if path.suffix != ".py" else path.parent).relative_to(PACKAGE).parts
    return folders[1] if len(folders) > 1 else ""


def _top(module: str) -> str:
    return module.split(".")[0]


def _listed(wrong: list[str], way_out: str) -> str:
    return "\n  ".join(["imports against the rules:", *wrong, f"the way out: {way_out}"])
