"""`vjepa make-data`: render the embedded dataset to mp4 files."""

from vjepa.cli.parser import HelpfulParser
from vjepa.data.synthetic_dataset import write_dataset


def make_data(arguments: list[str]) -> None:
    parser = HelpfulParser(prog="vjepa make-data", description="Render the embedded dataset to real mp4 files.")
    parser.add_function_arguments(write_dataset)
    parser.set_defaults({"folder": "data/synthetic"})
    write_dataset(**parser.parse_args(arguments).as_dict())
