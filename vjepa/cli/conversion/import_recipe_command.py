"""`vjepa import-recipe`: converts a training YAML of the released code to a recipe, with a note on each difference."""

import textwrap
from pathlib import Path
from typing import Any

import yaml

from vjepa.cli.parser import HelpfulParser
from vjepa.data.atomic_file import new_file
from vjepa.interop.recipe import read_yaml
from vjepa.interop.upstream.recipe import ImportedRecipe, import_recipe

PAPERS = {
    "V-JEPA 1": "V-JEPA (arXiv 2404.08471)",
    "V-JEPA 2": "V-JEPA 2 (arXiv 2506.09985)",
    "V-JEPA 2.1": "V-JEPA 2.1 (arXiv 2603.14482)",
}
WIDTH = 120


def run_import_recipe_command(arguments: list[str]) -> None:
    """Parse and run `vjepa import-recipe`; without -o the recipe goes to the screen."""
    parser = HelpfulParser(
        prog="vjepa import-recipe",
        description="Make a recipe of a training YAML of the released V-JEPA code (1, 2, 2.1).",
    )
    parser.add_argument("yaml", type=Path, help="YAML of a pretraining or a cooldown")
    parser.add_argument(
        "-o", "--output", type=Path | None, default=None, help="file of the recipe; the screen if not given"
    )
    parser.add_argument("--overwrite", type=bool, default=False, help="replace a recipe that is there already")
    given = parser.parse_args(arguments)
    imported = import_recipe(read_yaml(given.yaml))
    text = recipe_text(imported, given.yaml, given.output or Path("recipe.yaml"))
    if given.output is None:
        print(text, end="")
        return
    if not given.output.parent.is_dir():
        raise ValueError(f"there is no folder {given.output.parent} for {given.output.name}; make it first")
    if given.output.exists() and not given.overwrite:
        raise ValueError(f"{given.output} is there already; give another -o, or --overwrite=true")
    with new_file(given.output) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(f"{given.output}: {imported.family}, {len(imported.notes)} notes (they are in the file, too)")
    for note in imported.notes:
        print(f"  {note}")


def recipe_text(imported: ImportedRecipe, source: Path, output: Path) -> str:
    """Text of the recipe: its header, the notes, and the two parts of the body."""
    trainer = f"--trainer.num_nodes={imported.nodes} --trainer.devices={imported.devices}"
    header = [
        f"# {imported.family}, made of {source.name} by `vjepa import-recipe`.",
        *_field("Paper", PAPERS[imported.family]),
        *_field("Command", f"vjepa fit -c {output} {trainer}"),
        *_field("Hardware", f"{imported.nodes * imported.devices} GPUs, as {source.name} says."),
        *_field("Hours", "not known."),
        *_field("Expect", "not known; nothing of it was measured here."),
        "# Notes on its keys (there: the released code; here: this recipe):",
        *[line for note in imported.notes for line in _wrapped(f"# * {note}", "#   ")],
    ]
    return (
        "\n".join(header)
        + "\n\n# What changes results.\n"
        + yaml.dump(imported.results, Dumper=_PlainDumper, sort_keys=False, default_flow_style=None, width=80)
        + "\n# What only changes speed and memory, and what is kept.\n"
        + yaml.dump(imported.speed, Dumper=_PlainDumper, sort_keys=False, default_flow_style=False)
    )


class _PlainDumper(yaml.SafeDumper):  # type: ignore[misc]
    """Writes repeated values in full, without anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _field(name: str, text: str) -> list[str]:
    return _wrapped(f"# {name + ':':<10}{text}", "#" + 11 * " ")


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, replace_whitespace=True
    )
