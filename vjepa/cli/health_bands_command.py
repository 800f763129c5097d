"""`vjepa health-bands`: curves of healthy runs of a recipe as a small file, and pictures of runs over it."""

from pathlib import Path

from vjepa.cli.parser import HelpfulParser
from vjepa.monitoring.health.health_bands import (
    bands_of_runs,
    draw_over_bands,
    folders_of_runs,
    read_bands,
    write_bands,
)


def health_bands(
    runs: list[Path], output: Path | None = None, bands: Path | None = None, pictures: Path | None = None
) -> None:
    """Bands of healthy runs, or pictures of runs over such bands.

    Args:
        runs: folders of runs, or folders of such.
        output: JSON file for the bands of `runs`; a recipe names it as `collapse_monitor.bands`.
        bands: JSON file to draw the runs over; the bands of `runs` if None.
        pictures: folder of the pictures, one for each run.
    """
    if output is None and pictures is None:
        raise ValueError(
            "there is nothing to do; give `-o FILE.json` for bands, `--pictures FOLDER` for pictures, or both"
        )
    folders = folders_of_runs(runs)
    found = None if bands is not None and output is None else bands_of_runs(folders)
    if output is not None and found is not None:
        write_bands(found, output)
        print(f"{output}: bands of {len(found.bands)} quantities over {found.num_runs} runs")
    if pictures is not None:
        under = read_bands(bands) if bands is not None else found
        assert under is not None
        for folder in folders:
            picture = pictures / f"{folder.parent.name}_{folder.name}.png"
            draw_over_bands(folder, under, picture)
            print(picture)


def run_health_bands_command(arguments: list[str]) -> None:
    """Parse and run `vjepa health-bands`."""
    parser = HelpfulParser(
        prog="vjepa health-bands", description="Curves of healthy runs, from their TensorBoard events."
    )
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs, or folders of such")
    parser.add_argument("-o", "--output", type=Path | None, help="JSON file for the bands of the runs")
    parser.add_function_arguments(health_bands, skip={"runs", "output"})
    health_bands(**parser.parse_args(arguments).as_dict())
