"""`vjepa report`: the card of a run, or of several side by side, as one HTML page."""

from functools import partial
from pathlib import Path

from lightning.pytorch import Trainer

from vjepa.cli.parser import HelpfulParser
from vjepa.cli.training import RUN_CALLBACKS, TRAINER_DEFAULTS
from vjepa.data.atomic_file import write_text
from vjepa.monitoring.card.changed_settings import changed_settings
from vjepa.monitoring.card.page import run_card
from vjepa.monitoring.card.run import read_run_card


def report(runs: list[Path], output: Path | None = None, bands: Path | None = None) -> None:
    """Write a page with everything about a run: settings, origin, data, curves, results, pictures.

    Args:
        runs: folders of runs (or of several, of which the newest is taken); more than one stand side by side.
        output: the page, or a folder for it; `report.html` in the run's folder, or here for several runs, if None.
        bands: file of `vjepa health-bands` to draw under the curves; the one that the run's recipe names if None.
    """
    read = [read_run_card(path, bands) for path in runs]
    if output is not None and output.is_dir():
        output /= "report.html"
    page = output or (read[0].folder / "report.html" if len(read) == 1 else Path("report.html"))
    classes = {**dict(RUN_CALLBACKS), "trainer": Trainer}
    write_text(page, run_card(read, partial(changed_settings, classes=classes, defaults={"trainer": TRAINER_DEFAULTS})))
    print(f"{page} ({page.stat().st_size / 1e6:.1f} MB) is written; open it in a browser")


def run_report_command(arguments: list[str]) -> None:
    """Parse and run `vjepa report`."""
    parser = HelpfulParser(prog="vjepa report", description="Everything about a run on one HTML page.")
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs, e.g. runs/synthetic/version_0")
    parser.add_argument(
        "-o",
        "--output",
        type=Path | None,
        help="the page, or a folder for it; report.html in the run's folder if not given",
    )
    parser.add_function_arguments(report, skip={"runs", "output"})
    report(**parser.parse_args(arguments).as_dict())
