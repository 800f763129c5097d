"""Writes configs/README.md, the list of recipes, from their headers: `make recipes`."""

from pathlib import Path

from vjepa.cli.recipes_command import brief, read_header

CONFIGS = Path(__file__).parents[1] / "configs"
README = CONFIGS / "README.md"
FOLDERS = {
    "pretrain": "Pretraining on video: `make pretrain CONFIG=...`",
    "probe": "Frozen evaluation of a checkpoint: `make probe CONFIG=...`",
    "finetune": "Fine-tuning of a checkpoint with labels: `make finetune CONFIG=...`",
    "surprise": "Possible and impossible films: `make surprise CONFIG=...`",
    "segment": "Objects in frozen features: `make segment CONFIG=...`",
    "labels": "Labels saved by pretraining: `make labels CONFIG=...`",
    "collect": "Episodes of a simulated world: `vjepa collect -c ...`",
    "worldmodel": "World models: `make worldmodel CONFIG=...`",
    "plan": "Planning with a world model: `make plan CONFIG=...`",
}
INTRODUCTION = """\
# Recipes

<!-- Made from the headers of the recipes by `make recipes`; a test compares the two. -->

| You want to | Start with |
|---|---|
| see a run on a laptop | `make pretrain` (`pretrain/synthetic.yaml`), then `make probe` |
| pretrain on your own videos without a GPU | `vjepa fit -c my_videos --data.train_manifest=FOLDER` |
| probe any checkpoint on a folder of labelled videos | `vjepa probe -c folder --data.train_manifest=FOLDER` |
| continue from released weights on your own videos | `pretrain/vjepa2_vitl16_continued.yaml` |
| pretrain V-JEPA 1, 2 or 2.1 on a cluster | `pretrain/vjepa1_*`, `vjepa2_*`, `vjepa2_1_*`: 16 frames, then a cooldown |
| train an encoder further with labels | `make finetune`; for your own clips `finetune/weizmann.yaml` |
| see whether a model is surprised by what is impossible | `make surprise` (`surprise/physics.yaml`) |
| see objects in frozen features | `make segment` (`segment/synthetic.yaml`); on real video `segment/jhmdb.yaml` |
| count the labels that pretraining saves | `make labels` (`labels/synthetic.yaml`) |
| compare objectives | `make compare`, which runs `pretrain/synthetic*` |
| train a world model and plan with it | `make worldmodel` (`worldmodel/two_rooms.yaml`), then `make plan` |
| train a world model of your robot | `worldmodel/robot_folder.yaml` |

`-c` takes a recipe's file or name. Its files are looked up from the current folder, then from its own and three above.
A recipe may start from another one: `base: synthetic.yaml` names a file relative to it, and the rest says what differs
(`vjepa/interop/recipe.py`). `vjepa fit -c recipe.yaml --print_config` prints all values. The header of each recipe has
the paper, the command and the reasons.
"""


def index() -> str:
    """The text of configs/README.md."""
    sections = [INTRODUCTION]
    for folder, title in FOLDERS.items():
        rows = [_row(recipe) for recipe in sorted((CONFIGS / folder).glob("*.yaml"))]
        sections.append(f"## {title}\n\n| Recipe | Hardware | Hours | Expect |\n|---|---|---|---|\n" + "".join(rows))
    return "\n".join(sections)


def _row(recipe: Path) -> str:
    header = read_header(recipe)
    link = f"[{recipe.stem}]({recipe.parent.name}/{recipe.name})"
    hardware, hours, expect = (header.brief(name) for name in ("Hardware", "Hours", "Expect"))
    return f"| {link}: {brief(header.title)} | {hardware.partition(',')[0]} | {hours} | {expect.partition(';')[0]} |\n"


if __name__ == "__main__":
    README.write_text(index(), encoding="utf-8")
