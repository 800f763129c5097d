"""The code blocks of README and of each page of the documentation are true.

Every `vjepa` and `make` command is parsed by the real parser, with recipes and class paths; refused keys fail. Python
blocks run from top to bottom, a page at a time, in a folder with a few clips and a tiny file in the released layout.
Commands below `<!-- run -->` run, too. Before what can't run here stands `<!-- not run here: the reason -->`; it is
still parsed or compiled.
"""

import csv
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from vjepa.cli import training
from vjepa.cli.main import COMMANDS, main
from vjepa.cli.parser import HelpfulParser

ROOT = Path(__file__).parents[1]
OF_THE_PAST = ("decisions.md", "log.md")
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "AGENTS.md", "SECURITY.md", "data/README.md")]
PAGES += sorted(path for path in (ROOT / "docs").rglob("*.md") if path.name not in OF_THE_PAST)
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
FENCE = re.compile(r"(?:<!-- (?P<mark>[^>]*) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)```", re.DOTALL)
SETTING = re.compile(r"[A-Z_]+=\S*$")  # of the environment, before a command
SEED = re.compile(r"(?<=[=\[_])S\b")  # `--seed=S`: any number
# Programs of others, whose arguments are not looked at.
OTHERS = {"cd", "export", "git", "hf", "jupyter", "source", "tensorboard", "wget"}

TINY = f"""
base: {ROOT}/configs/pretrain/synthetic.yaml
model.init_args:
  encoder: {{size: tiny, embed_dim: 192, depth: 2, num_heads: 3, tubelet: [2, 16, 16], position: rotary_tiled}}
  predictor: {{embed_dim: 384, depth: 1, num_heads: 12, position: rotary_tiled}}
  terms.views: null
data.init_args.views: null
"""

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


class Block(NamedTuple):
    mark: str  # "run", "not run here: …" or ""
    language: str
    code: str


def blocks_of(page: Path, *languages: str) -> list[Block]:
    blocks = [
        Block(found["mark"] or "", found["language"], found["code"]) for found in FENCE.finditer(page.read_text())
    ]
    return [block for block in blocks if block.language in languages]


def commands_in(code: str) -> list[list[str]]:
    """The words of each command of a shell block, without settings of the environment."""
    commands = []
    for line in SEED.sub("0", code).replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and SETTING.match(words[0]):
            words = words[1:]
        if words:
            commands.append(words)
    return commands


def commands_on(page: Path) -> list[list[str]]:
    """All commands of a page: those of its shell blocks, and those with a recipe in its text."""
    found = [command for block in blocks_of(page, "bash", "") for command in commands_in(block.code)]
    text = FENCE.sub("", page.read_text())
    for code in re.findall(r"`((?:vjepa|make) [^`]+)`", text):
        found += commands_in(code) if re.search(" -c | [A-Z]+=", code) and "…" not in code else []
    return found


class ParsedError(Exception):
    """All arguments of a command were understood."""


@pytest.fixture
def parse_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands end once their arguments are parsed."""
    original = HelpfulParser.parse_args

    def parse_args(parser: HelpfulParser, *given: Any, **options: Any) -> Any:
        parsed = original(parser, *given, **options)
        if parser.exit_on_error:  # not the parser of a part
            raise ParsedError
        return parsed

    def before_instantiate_classes(command: training.TrainingCLI) -> None:
        raise ParsedError

    monkeypatch.setattr(training.TrainingCLI, "before_instantiate_classes", before_instantiate_classes)
    monkeypatch.setattr(HelpfulParser, "parse_args", parse_args)
    monkeypatch.chdir(ROOT)


CHECKED: set[tuple[str, ...]] = set()
OF_OUTER_MAKE = ("ARGS", "CONFIG", "MAKEFLAGS", "MAKEOVERRIDES")  # that runs these tests


def check(command: list[str]) -> None:
    """Fail where a program, a recipe, a file or a key of a command is unknown."""
    name, *arguments = command
    name = Path(name).name
    if tuple(command) in CHECKED:
        return
    CHECKED.add(tuple(command))
    if name == "vjepa":
        check_vjepa(arguments)
    elif name == "make":
        check_make(arguments)
    elif name == "torchrun":
        check_vjepa(arguments[arguments.index("vjepa") + 1 :])
    elif name == "pip":
        unknown = {extra for word in arguments for extra in re.findall(r"\[([\w,]+)\]", word)} - set(EXTRAS)
        assert not unknown, f"there is no extra {unknown}"
    elif name in ("python", "sbatch"):
        files = [word for word in arguments if word.startswith(("benchmarks/", "scripts/", "configs/"))]
        assert all((ROOT / file).exists() for file in files)
    else:
        assert name in OTHERS, f"unknown program '{name}'"


def check_vjepa(arguments: list[str]) -> None:
    assert arguments[0] in ("--help", *COMMANDS), f"there is no command '{arguments[0]}'"
    if "--help" in arguments:
        return
    with pytest.raises(ParsedError):
        main(arguments)


def check_make(arguments: list[str]) -> None:
    """Make says which commands it would run; those of ours are checked."""
    plain = {name: value for name, value in os.environ.items() if name not in OF_OUTER_MAKE}
    planned = subprocess.run(
        ["make", "--dry-run", "VENV=.venv", *arguments],
        cwd=ROOT,
        env=plain,
        capture_output=True,
        text=True,
        check=False,
    )
    assert planned.returncode == 0, planned.stderr
    for line in planned.stdout.replace("\\\n", " ").splitlines():
        if line.startswith(".venv/bin/vjepa"):
            check(shlex.split(line))


@pytest.mark.slow
@each_page
def test_commands_parse(page: Path, parse_only: None, capsys: pytest.CaptureFixture[str]):
    for command in commands_on(page):
        try:
            check(command)
        except (Exception, SystemExit) as error:
            pytest.fail(f"{shlex.join(command)}: {error} {capsys.readouterr().err}")


def test_a_wrong_key_does_not_parse(parse_only: None):
    for command in (
        "vjepa fit -c configs/pretrain/synthetic.yaml --model.encoder.dept=3",
        "vjepa probe -c configs/probe/synthetic.yaml --label_per_class=3",
        "make probe ARGS=--seed=3",
        "make nothing",
        "vjepa embed clips/",
        "vjepa prob",
        "pip install 'video-jepa[nothing]'",
        "nothing",
    ):
        with pytest.raises((SystemExit, AssertionError)):
            check(shlex.split(command))


@each_page
def test_blocks_have_a_language_and_reasons(page: Path):
    for block in blocks_of(page, "bash", "python", "", "text", "yaml", "diff"):
        assert not block.mark or block.mark == "run" or re.match("not run here: .{3}", block.mark), block.mark
        if block.language == "python":
            compile(block.code, str(page), "exec")


def runs(page: Path) -> bool:
    return any(is_run(block) for block in blocks_of(page, "python", "bash"))


def is_run(block: Block) -> bool:
    return block.mark == "run" or (block.language == "python" and not block.mark)


@pytest.fixture(scope="module")
def released_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in the layout of vitl.pt, with 192 channels, 2 blocks and random weights."""
    folder = tmp_path_factory.mktemp("released")
    (folder / "tiny.yaml").write_text(TINY)
    main(["convert", str(folder / "tiny.yaml"), str(folder / "vitl.pt"), "--to", "meta"])
    return folder / "vitl.pt"


@pytest.fixture
def folder_of_a_reader(
    tiny_world: Path, released_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """Stand where a reader stands: recipes, clips in folders of their classes, vitl.pt. Gives what pages assume."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    shutil.copy(released_file, tmp_path / "vitl.pt")
    for split in ("train", "test"):
        with (tiny_world / f"{split}.csv").open() as file:
            rows = list(csv.DictReader(file))
        for number, row in enumerate(rows[:8]):
            kept = tmp_path / "my_clips" / split / ("walk", "run")[number % 2] / f"{number}.mp4"
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tiny_world / row["path"], kept)
    (tmp_path / "clips" / "run").mkdir(parents=True)
    shutil.copy(kept, tmp_path / "clips" / "run" / "a.mp4")
    shutil.copy(kept, tmp_path / "my_video.mp4")
    monkeypatch.chdir(tmp_path)
    frames = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), np.uint8)
    yield {"__name__": "page", "clips": torch.randint(0, 256, (2, 3, 4, 32, 32), dtype=torch.uint8), "frames": frames}


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if runs(page)], ids=lambda path: str(path.relative_to(ROOT)))
def test_blocks_run(page: Path, folder_of_a_reader: dict[str, Any]):
    names = folder_of_a_reader
    for block in blocks_of(page, "python", "bash"):
        if is_run(block) and block.language == "python":
            exec(compile(block.code, str(page), "exec"), names)
        elif is_run(block):
            for command in commands_in(block.code):
                assert command[0] == "vjepa"
                main(command[1:])
