"""`vjepa replay`: one training step again, alone, from what a run has kept of a step that it skipped."""

from pathlib import Path

from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from vjepa.cli.parser import HelpfulParser
from vjepa.cli.training import TrainingCLI
from vjepa.monitoring.guard.kept_step import KeptStep, read_kept_step, replayed_loss
from vjepa.training.scheduled_module import ScheduledModule

SETTINGS = "config.yaml"


def run_replay_command(arguments: list[str]) -> None:
    """Parse and run `vjepa replay`."""
    parser = HelpfulParser(prog="vjepa replay", description="Run a skipped step again, alone, on this processor.")
    parser.add_argument("step", type=Path, help="the folder of a step, e.g. runs/synthetic/version_0/skipped/step_120")
    parser.add_argument(
        "--settings", type=Path | None, help="the run's config.yaml; the one in its folder if not given"
    )
    given = parser.parse_args(arguments)
    kept = read_kept_step(given.step)
    settings = given.settings or given.step.resolve().parents[1] / SETTINGS
    if not settings.exists():
        raise ValueError(f"the settings of {given.step} are not at {settings}; give the run's with --settings")
    model = ReplayCLI(["fit", "-c", str(settings)]).model
    loss = replayed_loss(kept, given.step, model)
    print(_report(kept, loss))


class ReplayCLI(TrainingCLI):
    """Reads a run's settings as `fit` does, and makes its model alone."""

    model: ScheduledModule

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)

    def instantiate_classes(self) -> None:
        given = self.config[self.subcommand]
        wanted = Namespace({self.subcommand: Namespace(model=given.model)})
        self.model = self.parser.instantiate(wanted)[self.subcommand].model

    def _run_subcommand(self, subcommand: str) -> None:
        """All is done."""


def _report(kept: KeptStep, loss: float) -> str:
    mean = sum(kept.losses) / len(kept.losses)
    paths = [path for of_rank in kept.paths for path in of_rank]
    lines = [
        f"step {kept.step} was skipped: {kept.reason}",
        f"loss in the run  {mean:.8g}"
        + (f" (ranks: {', '.join(f'{each:.8g}' for each in kept.losses)})" if len(kept.losses) > 1 else ""),
        f"loss replayed    {loss:.8g}",
        f"its {len(paths)} clips:",
        *(f"  {path}" for path in paths),
    ]
    return "\n".join(lines)
