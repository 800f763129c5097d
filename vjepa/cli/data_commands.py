"""`vjepa make-data`, `manifest`, `doctor` and `transcode`: commands that are one function of `vjepa.data` each."""

from collections.abc import Callable
from typing import Any

from vjepa.cli.parser import HelpfulParser


def make_data(arguments: list[str]) -> None:
    from vjepa.data.synthetic.dataset import write_dataset

    parser = HelpfulParser(prog="vjepa make-data", description="Render the embedded dataset to real mp4 files.")
    parser.add_function_arguments(write_dataset)
    write_dataset(**parser.parse_args(arguments).as_dict())


def manifest(arguments: list[str]) -> None:
    from vjepa.data.manifest.writing import write_manifest

    parser = HelpfulParser(prog="vjepa manifest", description="List videos, with the frames, rate and size of each.")
    parser.add_argument("sources", nargs="+", help="folders, lists or annotation files (CSV, Parquet, JSON)")
    _run(parser, write_manifest, "sources", arguments)


def doctor(arguments: list[str]) -> None:
    from vjepa.data.manifest.doctor import examine

    parser = HelpfulParser(prog="vjepa doctor", description="Look at every file of a manifest before training on it.")
    parser.add_argument("manifest", help="CSV, Parquet or list file, or a folder")
    _run(parser, examine, "manifest", arguments)


def transcode(arguments: list[str]) -> None:
    from vjepa.data.manifest.transcode import transcode as write_copies

    parser = HelpfulParser(prog="vjepa transcode", description="Make training copies that decode fast.")
    parser.add_argument("manifest", help="CSV, Parquet or list file, or a folder")
    _run(parser, write_copies, "manifest", arguments)


def _run(parser: HelpfulParser, function: Callable[..., None], positional: str, arguments: list[str]) -> None:
    """Call a function whose first parameter is the command's positional argument."""
    parser.add_function_arguments(function, skip={positional})
    given: dict[str, Any] = parser.parse_args(arguments).as_dict()
    function(given.pop(positional), **given)
