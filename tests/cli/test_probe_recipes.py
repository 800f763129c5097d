"""Recipes of frozen evaluation and fine-tuning: each parses by its own command and answers for itself."""

import re
from pathlib import Path

import pytest
import yaml
from jsonargparse import Namespace

from vjepa.cli.evaluation.anticipation_command import run_anticipation_command
from vjepa.cli.evaluation.finetune_command import run_finetune_command
from vjepa.cli.evaluation.probe_command import run_probe_command
from vjepa.cli.evaluation.surprise_command import run_surprise_command
from vjepa.cli.parser import HelpfulParser
from vjepa.evaluation.probes.sweep import Sweep

ROOT = Path(__file__).parents[2]
RECIPES = sorted(
    path.relative_to(ROOT).as_posix()
    for room in ("probe", "finetune")
    for path in (ROOT / "configs" / room).glob("*.yaml")
)
COMMANDS = {"probe": run_probe_command, "anticipate": run_anticipation_command, "finetune": run_finetune_command}
COMMANDS |= {"surprise": run_surprise_command}
# Frames, rate, segments, views; of the published protocol.
CLIPS = {
    "kinetics400": (16, 4, 8, 3),
    "ssv2": (16, 4, 2, 3),
    "coin": (16, 4, 8, 3),
    "diving48": (32, 2, 4, 3),
    "jester": (32, 2, 4, 3),
}
MANY = {5e-3, 3e-3, 1e-3, 3e-4, 1e-4}, {0.01, 0.1, 0.4, 0.8}, 20
FEW = {1e-3, 3e-4, 1e-4}, {0.8}, 100
HEADS = {"kinetics400": MANY, "ssv2": MANY, "coin": MANY, "diving48": FEW, "jester": FEW}
HEADS |= {
    "imagenet": ({5e-4, 1e-3, 1.5e-3, 2e-3}, {5e-4, 1e-3, 2e-3, 4e-3, 8e-3}, 20),
    "epic_kitchens100": ({5e-3, 3e-3, 1e-3, 3e-4, 1e-4}, {1e-4, 1e-3, 0.01, 0.1}, 20),
}
BATCH_SIZES = {"kinetics400": 256, "ssv2": 256, "coin": 128, "diving48": 128, "jester": 128, "imagenet": 1024}
BATCH_SIZES |= {"epic_kitchens100": 128}
SMALL = {"jhmdb": "source_video", "weizmann": "subject", "ut_interaction": "sequence"}

by_recipe = pytest.mark.parametrize("recipe", RECIPES)
# The default recipe's results are not in yet.
by_other_recipe = pytest.mark.parametrize("recipe", [recipe for recipe in RECIPES if "synthetic" not in recipe])

# For videos of one's own, with the clips of a checkpoint: both are given by the user.
NEEDED = ["--data.train_manifest=labelled/", "--checkpoint=synthetic"]


class Parsed(Exception):  # noqa: N818 (no error)
    """Thrown in place of what a command would do next."""


def parsed_with_defaults(recipe: str, *flags: str) -> tuple[Namespace, Namespace]:
    """What the recipe's own command makes of it, before any manifest is read; and what it would be without a recipe."""

    def stop(parser: HelpfulParser, settings: Namespace) -> None:
        raise Parsed(settings, parser.get_defaults())

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Parsed) as found:
        patch.setattr(HelpfulParser, "instantiate", stop)
        needed = NEEDED if recipe.endswith("folder.yaml") else []
        COMMANDS[command_of(recipe)](["-c", str(ROOT / recipe), *needed, *flags])
    return found.value.args


def parsed(recipe: str, *flags: str) -> Namespace:
    return parsed_with_defaults(recipe, *flags)[0]


def published(name: str) -> Namespace:
    return parsed(f"configs/probe/{name}.yaml")


def header(recipe: str) -> str:
    lines = (ROOT / recipe).read_text(encoding="utf-8").splitlines()
    return "\n".join(lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))])


def command_of(recipe: str) -> str:
    return "anticipate" if recipe.endswith("epic_kitchens100.yaml") else Path(recipe).parent.name


def leaves(settings: dict, prefix: str = "") -> set[str]:
    found: set[str] = set()
    for key, value in settings.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}"}
    return found


def test_every_published_protocol_has_a_recipe():
    assert {Path(recipe).stem for recipe in RECIPES} >= {*HEADS, *SMALL, "synthetic"}


@by_recipe
def test_recipe_parses_and_its_sweep_builds(recipe: str):
    settings = parsed(recipe)
    data = settings.data
    assert data.train_manifest and (data.test_manifest or data.test_split or data.test_share)
    assert Sweep(**vars(settings.sweep)).files_at_once >= 1


@by_recipe
def test_body_names_existing_keys_and_repeats_neither_base_nor_default(recipe: str):
    settings, before = parsed_with_defaults(recipe)
    body = yaml.safe_load((ROOT / recipe).read_text(encoding="utf-8"))
    base = body.pop("base", None)
    if base is not None:
        before = parsed((Path(recipe).parent / base).as_posix())
    for key in leaves(body):
        assert key in settings, f"{recipe}: there is no key {key}"
        assert listed(settings[key]) != listed(before[key]), f"{recipe}: {key} repeats its base, or the default"


def listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


@by_other_recipe
@pytest.mark.parametrize("field", ["Paper", "Command", "Hardware", "Hours", "Expect"])
def test_header_says(recipe: str, field: str):
    assert re.search(rf"^# {field}: +\S", header(recipe), re.MULTILINE), (
        f"the header of {recipe} lacks a line '# {field}: ...' (a recipe answers for itself)"
    )


@by_other_recipe
def test_header_tells_its_own_command_and_where_its_numbers_are_from(recipe: str):
    text = header(recipe)
    assert re.search(rf"vjepa {command_of(recipe)} -c {re.escape(recipe)}\b", text)
    # Results of fine-tuning are not in yet.
    assert (
        "as published" in text
        or "measured here: docs/results.md" in text
        or "/finetune/" in recipe
        or recipe.endswith("folder.yaml")
    )


@pytest.mark.parametrize("name", CLIPS)
def test_clips_are_those_of_the_published_protocol(name: str):
    data = published(name).data
    assert (data.num_frames, data.frame_step, data.segments, data.views) == CLIPS[name]
    assert (data.train_segments, data.train_views) == (data.segments, 1)
    assert tuple(data.crop_size) == (256, 256)


@pytest.mark.parametrize("name", HEADS)
def test_heads_are_those_of_the_published_protocol(name: str):
    settings = published(name)
    sweep = settings.sweep
    assert sweep.heads == ("attentive_4",)
    assert (set(sweep.learning_rates), set(sweep.weight_decays), sweep.num_epochs) == HEADS[name]
    assert (sweep.batch_size, sweep.num_heads) == (BATCH_SIZES[name], 16)
    assert sweep.warmup == (0.25 if name == "imagenet" else 0.0)


@pytest.mark.parametrize("name", HEADS)
def test_training_clips_are_augmented_and_never_mirrored(name: str):
    settings = published(name)
    data = settings.data
    assert tuple(data.crop_scale) == (0.08, 1.0) and data.flip_probability == 0.0
    assert data.rand_augment.startswith("rand-m7-n4") and data.erase_probability == 0.25
    if name != "epic_kitchens100":  # which is always streamed
        assert settings.cache_gigabytes == 0, "cached clips would be without augmentation"
        assert settings.labels_per_class == ["all"]


def test_motions_are_neither_mirrored_nor_cropped_while_an_encoder_learns_to_tell_them():
    data = parsed("configs/finetune/synthetic.yaml").data
    assert tuple(data.crop_scale) == tuple(data.crop_aspect_ratio) == (1.0, 1.0) and data.flip_probability == 0.0


def test_an_image_stands_for_sixteen_frames():
    data = published("imagenet").data
    assert (data.num_frames, data.segments, data.views) == (16, 1, 1)


@pytest.mark.parametrize("name", ["diving48", "jester"])
def test_tokens_of_four_levels_stand_one_behind_the_other(name: str):
    assert published(name).levels == [17, 19, 21, 23]


@pytest.mark.parametrize("room", ["probe", "finetune"])
@pytest.mark.parametrize("name", SMALL)
def test_small_sets_hold_out_whole_groups(name: str, room: str):
    data = parsed(f"configs/{room}/{name}.yaml").data
    assert (data.train_split, data.val_split, data.test_split) == ("train", None, "val")
    assert data.group == SMALL[name]
    flagged = parsed(f"configs/{room}/{name}.yaml", "--data.train_manifest=labels.csv", "--data.root=somewhere").data
    assert (flagged.train_manifest, flagged.root) == ("labels.csv", "somewhere")


def test_anticipation_follows_the_published_protocol():
    data = published("epic_kitchens100").data
    assert (data.num_frames, data.fps, tuple(data.crop_size)) == (32, 8.0, (256, 256))
    assert data.anticipation_seconds == 1.0
    assert tuple(data.train_anticipation_seconds) == (0.25, 1.75)
    assert tuple(data.train_anticipation_point) == (0.0, 0.25)
    assert data.group == "participant"


@pytest.mark.parametrize("name", ["kinetics400", "ssv2", "coin", "diving48", "imagenet"])
def test_manifests_are_those_that_the_dataset_s_commands_write(name: str):
    data = published(name).data
    text = (ROOT / "data" / f"{name}.yaml").read_text(encoding="utf-8")
    for manifest in filter(None, (data.train_manifest, data.test_manifest)):
        assert f"--output={manifest}" in text
    for split in filter(None, (data.train_split, data.test_split)):
        assert split in text
