"""Arguments that every evaluation of a checkpoint has."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vjepa.interop.opening import open_run
from vjepa.interop.packaged import packaged_weights
from vjepa.interop.run_folder import EncoderName, PretrainedRun, newest_run


class Opened(Protocol):
    """A run, or a model in another format."""

    @property
    def checkpoint(self) -> Path: ...

    @property
    def step(self) -> int | None: ...


@dataclass(frozen=True)
class CheckpointArguments:
    """The checkpoint to evaluate, and where results go.

    Args:
        checkpoint: of any format that `vjepa convert` reads, a run's folder, or the name of weights that come with the
            package (synthetic); the newest below `runs` if None.
        settings: the run's config.yaml, where it is not in the checkpoint's run folder.
        encoder: the target encoder (the moving average), or the context encoder.
        num_heads: of the encoder, where the checkpoint does not contain it.
        image_size: height and width of training clips, where the checkpoint does not contain them.
        runs: folder of all runs.
        output: folder of results; one in the run's folder, named after the evaluation, if None.
        accelerator: as for Lightning's trainer.
    """

    checkpoint: Path | None = None
    settings: Path | None = None
    encoder: EncoderName = "target"
    num_heads: int | None = None
    image_size: int | None = None
    runs: Path = Path("runs")
    output: Path | None = None
    accelerator: str = "auto"

    def read(self, with_predictor: bool = False) -> PretrainedRun:
        """Raises ValueError where there is no run, or it is broken."""

        def opened(path: Path) -> PretrainedRun:
            run = self.open(path)
            if with_predictor:
                run.require_predictor()
            return run

        if self.checkpoint is not None:
            return opened(self.checkpoint)
        purpose = "to anticipate with" if with_predictor else "to probe"
        return newest_run(self.runs, opened, purpose, "pretrain")

    def open(self, path: Path) -> PretrainedRun:
        """Raises ValueError where there is no run, or it is broken."""
        return open_run(path, self.encoder, self.num_heads, self.image_size, self.settings)

    def folder(self, run: Opened, evaluation: str) -> Path:
        """The folder of results."""
        is_run = run.step is not None and not packaged_weights(run.checkpoint)
        beside = run.checkpoint.parent.parent if is_run else self.runs / run.checkpoint.stem
        return self.output or beside / evaluation

    def facts(self, run: Opened) -> dict[str, object]:
        """The checkpoint, for files of results."""
        return {"checkpoint": str(run.checkpoint), "step": run.step, "encoder": self.encoder}
