"""Every command, found by itself, explains itself: an example that holds, and a word on each option."""

import importlib
import re
from itertools import pairwise

import pytest

from vjepa.cli import completion_command
from vjepa.cli import main as entry
from vjepa.cli.everyday_flags import EVERYDAY_FLAGS
from vjepa.cli.main import COMMANDS, main
from vjepa.cli.parser import ROOMS, HelpfulParser
from vjepa.cli.recipes_command import recipe_list
from vjepa.interop.packaged import packaged_names
from vjepa.interop.recipe import all_recipes, find_recipe

# Lightning's own, and what argparse and jsonargparse add.
EXPLAINED_ELSEWHERE = re.compile(
    r"trainer\b.*|model|data|.*\.?help|print_config|config|seed_everything|optimizer.*|lr_sch.*"
)


def said_for_help(command: str, capsys: pytest.CaptureFixture) -> str:
    with pytest.raises(SystemExit) as exit_:
        main([command, "--help"])
    assert exit_.value.code == 0
    return capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_a_word_on_each_option_and_gives_an_example(command: str, capsys, monkeypatch):
    parsers: list[HelpfulParser] = []
    monkeypatch.setattr(HelpfulParser, "print_help", lambda parser, file=None: parsers.append(parser))
    text = said_for_help(command, capsys)
    assert f"example: vjepa {command} {COMMANDS[command].example}" in text and COMMANDS[command].help in text
    (parser,) = parsers
    actions = [action for action in parser._actions if not EXPLAINED_ELSEWHERE.fullmatch(action.dest)]
    options = {flag for action in parser._actions for flag in action.option_strings}
    silent = [action.dest for action in actions if not str(action.help or "").strip(" %()s")]
    assert silent == []
    if command != "fit":  # the classes of a recipe decide which flags there are
        flags = re.findall(r"(?<!\S)(--?[a-z][\w.]*)", COMMANDS[command].example)
        assert [flag for flag in flags if flag not in options] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_recipes_and_weights_of_examples_are_there(command: str):
    words = COMMANDS[command].example.replace("=", " ").split()
    trains = command == "show" or COMMANDS[command].function == entry.TRAINING
    rooms = ("pretrain",) if trains else (ROOMS.get(command, "probe"),)
    for flag, name in pairwise(words):
        assert flag != "-c" or find_recipe(name, rooms), name
        assert flag != "--checkpoint" or "/" in name or name.endswith(".pt") or name in packaged_names(), name


@pytest.mark.slow
def test_help_of_fit_begins_with_ten_flags_that_change_what_they_say(tiny_recipe, capsys):
    assert len(EVERYDAY_FLAGS) == 10
    flags = [flag for _, example, _ in EVERYDAY_FLAGS for flag in example.split()]
    with pytest.raises(SystemExit):
        main(["fit", "-c", str(tiny_recipe), "--data.frame_step=null", *flags, "--print_config"])
    printed = capsys.readouterr().out
    for flag in flags:
        key, _, value = flag.lstrip("-").partition("=")
        value = value.strip("[]").split(",")[0].replace("1e-3", "0.001")
        assert re.search(rf"\b{key.rpartition('.')[2]}:\s+(- )?'?{re.escape(value)}(?!\w)", printed), flag


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("fit", "-c", "synthetik"), "there is no recipe synthetik; did you mean 'synthetic'? (`vjepa recipes` lists"),
        (("probe", "-c", "weizman"), "there is no recipe weizman; did you mean 'weizmann'?"),
        (("plan", "-c", "weizmann"), "there is no recipe weizmann; it is one of configs/finetune, for another command"),
        (("plan", "-c", "my/own.yaml"), "there is no recipe my/own.yaml; give the path of a YAML file, or a name"),
        (("recipes", "physcs"), "has 'physcs' in its name, task or hardware; did you mean 'physics'?"),
        (
            ("probe", "-c", "folder"),
            "missing 'data.train_manifest', which this recipe leaves to you; give --data.train_m",
        ),
        (
            ("embed", "a.mp4", "-o", "out", "--checkpoint", "synthetik"),
            "did you mean 'synthetic', which comes with the",
        ),
    ],
)
def test_misspelt_names_are_answered_by_the_nearest(arguments, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    assert exit_.value.code == 2 and sentence in capsys.readouterr().err


def test_recipes_are_listed_by_command_and_word():
    whole = recipe_list()
    assert all(f"\n{recipe.stem} " in whole for recipe in all_recipes())
    assert re.search(
        r"^synthetic  +two processor cores  +0\.1  +The default: a video JEPA in small", whole, re.MULTILINE
    )
    physics = recipe_list("physics").splitlines()
    assert [line.split()[1] for line in physics if line.startswith("vjepa ")] == ["fit", "surprise"]
    assert "vjepa anticipate -c NAME" in recipe_list("epic")


def test_completion_knows_commands_flags_and_recipes(monkeypatch, capsys):
    pytest.importorskip("shtab", reason="needs the extra completion")
    some = {name: COMMANDS[name] for name in ("plan", "doctor")}
    monkeypatch.setattr(entry, "COMMANDS", some)
    monkeypatch.setattr(completion_command, "flags_of", lambda name: {"plan": ["--config", "--episodes"]}.get(name, []))
    completion_command.run_completion_command(["bash"])
    script = capsys.readouterr().out
    assert (
        all(word in script for word in ("plan", "doctor", "--episodes", "two_rooms_icem"))
        and "'weizmann'" not in script
    )


def test_recipes_of_training_are_completed_where_one_is_shown_or_planned(monkeypatch):
    monkeypatch.setattr(entry, "COMMANDS", {name: COMMANDS[name] for name in ("fit", "show", "plan-run", "probe")})
    monkeypatch.setattr(completion_command, "flags_of", lambda name: ["--config"])
    [commands] = [each for each in completion_command.outline_of_commands()._actions if each.choices]
    choices = {name: set(parser._actions[-1].choices) for name, parser in commands.choices.items()}
    assert choices["show"] == choices["plan-run"] == choices["fit"] >= {"small_videos"} != choices["probe"]


def test_the_usage_of_show_is_its_own(capsys):
    with pytest.raises(SystemExit):
        entry.main(["show", "--help"])
    assert "usage: vjepa show [-c" in capsys.readouterr().out


def test_flags_to_complete_are_those_of_the_help():
    assert set(completion_command.flags_of("doctor")) >= {"--output", "--duplicate_distance"}


@pytest.mark.parametrize("name", ["data", "video"])
def test_progress_without_a_terminal_has_no_colours(name, capsys):
    report = importlib.import_module("vjepa.data.progress").report_progress
    assert list(report(range(4), 4, name)) == [0, 1, 2, 3]
    assert "\x1b" not in capsys.readouterr().out
