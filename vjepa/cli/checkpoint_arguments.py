"""Arguments that every evaluation of a checkpoint has."""

from dataclasses import dataclass
from pathlib import Path

from vjepa.interop.run_folder import EncoderName, PretrainedRun, newest_checkpoint, read_run


@dataclass(frozen=True)
class CheckpointArguments:
    """The checkpoint to evaluate, and where results go.

    Args:
        checkpoint: of a run of `vjepa fit`; the newest below `runs` if None.
        settings: the run's config.yaml, where it is not in the checkpoint's run folder.
        encoder: the target encoder (the moving average), or the context encoder.
        runs: folder of all runs.
        output: folder of results; one in the run's folder, named after the evaluation, if None.
        accelerator: as for Lightning's trainer.
    """

    checkpoint: Path | None = None
    settings: Path | None = None
    encoder: EncoderName = "target"
    runs: Path = Path("runs")
    output: Path | None = None
    accelerator: str = "auto"

    def read(self) -> PretrainedRun:
        """Raises ValueError where there is no run, or it is broken."""
        return read_run(self.checkpoint or newest_checkpoint(self.runs), self.settings)

    def folder(self, run: PretrainedRun, evaluation: str) -> Path:
        """The folder of results."""
        return self.output or run.checkpoint.parent.parent / evaluation

    def facts(self, run: PretrainedRun) -> dict[str, object]:
        """The checkpoint, for files of results."""
        return {"checkpoint": str(run.checkpoint), "step": run.step, "encoder": self.encoder}


def title(run: PretrainedRun) -> str:
    """Name and step of a run, for tables."""
    return f"{run.checkpoint.parent.parent.parent.name}, step {run.step}"
