"""Summary at the end of a run: results, paths and next commands."""

import shlex
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Protocol, runtime_checkable

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from vjepa.data.clips.data_module import ClipDataModule
from vjepa.interop.recipe import find_recipe
from vjepa.monitoring.run_checkpoint import RunCheckpoint
from vjepa.training import ImageSelfDistillation, WorldModel
from vjepa.training.clip_model import ClipModel

EMBEDDED = "dataset.json"  # beside the manifests of `vjepa make-data`


@runtime_checkable
class Summarised(Protocol):
    """Callbacks whose results are part of the summary."""

    def summary(self) -> dict[str, str]:
        """Lines by their first word."""
        ...


class ClosingSummary(Callback):
    """Prints first and last loss, health of the embeddings, paths and next commands on rank 0."""

    def __init__(self) -> None:
        self._first_loss: float | None = None

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        self._folder = trainer.log_dir  # a collective: all ranks must read it, and only here
        self._started = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        if self._first_loss is None and "train/loss" in trainer.callback_metrics:
            self._first_loss = float(trainer.callback_metrics["train/loss"])

    def on_fit_end(self, trainer: Trainer, module: LightningModule) -> None:  # after the last checkpoint is written
        if trainer.is_global_zero:
            elapsed = timedelta(seconds=round(time.monotonic() - self._started))
            lines = [f"\nFinished at step {trainer.global_step} after {elapsed}."]
            lines += [f"  {name:<12} {text}" for name, text in self._results(trainer, module)]
            print("\n".join([*lines, *self._next_commands(trainer, module)]), flush=True)

    def _results(self, trainer: Trainer, module: LightningModule) -> Iterator[tuple[str, object]]:
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if self._first_loss is not None and "train/loss" in logged:
            yield "loss", f"{self._first_loss:.4f} -> {logged['train/loss']:.4f}"
        for name in ("context", "target", "predicted", "view"):
            if f"health/{name}_rank" in logged and isinstance(module, ClipModel):
                width = module.get_encoder("context").embed_dim
                rank, std = logged[f"health/{name}_rank"], logged[f"health/{name}_std"]
                yield name, f"effective rank {rank:.1f} of {width} ({rank / width:.0%}), std {std:.3f}"
        if isinstance(module, ImageSelfDistillation) and "train/spread" in logged:
            yield (
                "prototypes",
                f"spread over {logged['train/spread']:.0%} (0: all images alike), of an image "
                f"{logged['train/target_entropy']:.0%} uncertain (100 %: nothing told)",
            )
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Summarised):
                yield from callback.summary().items()
        data = trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(data, ClipDataModule):
            usage = data.usage()
            for name, seen in usage.items():
                title = "clips" if len(usage) == 1 else name
                yield title, f"{seen.clips:,}, {seen.seconds / 3600:.2f} hours of video"
            if len(data.quarantine):
                yield "unreadable", f"{len(data.quarantine)} files, replaced by others: {data.quarantine.file}"
        yield "checkpoint", _last_checkpoint(trainer) or "none was written"
        if self._folder and Path(self._folder, "config.yaml").exists():
            yield "settings", f"{self._folder}/config.yaml"

    def _next_commands(self, trainer: Trainer, module: LightningModule) -> Iterator[str]:
        if not self._folder or not Path(self._folder, "config.yaml").exists():
            return
        yield "Next:"
        if isinstance(trainer.logger, TensorBoardLogger):
            yield f"  tensorboard --logdir {shlex.quote(str(self._folder))}"
        if (checkpoint := _last_checkpoint(trainer)) is not None:
            data = trainer.datamodule  # type: ignore[attr-defined]
            if isinstance(module, ClipModel):
                sources = data.training_sources if isinstance(data, ClipDataModule) else []
                yield f"  {evaluation_of([source.manifest for source in sources], checkpoint)}"
                classes = max((len(clips.manifest.label_names) for clips in getattr(data, "train", [])), default=0)
                if len(sources) == 1 and classes > 1 and not _is_embedded(sources[0].manifest):
                    labelled, last = shlex.quote(sources[0].manifest), shlex.quote(str(checkpoint))
                    yield f"  vjepa probe -c folder --data.train_manifest {labelled} --checkpoint {last}"
            elif isinstance(module, WorldModel) and module.action_limit is None:  # recordings, not a simulated world
                yield "  plan with it as section 5 of docs/own-robot-data.md does"
            else:
                yield f"  {planning_of(str(getattr(data, 'root', '')), checkpoint)}"
            settings, steps = shlex.quote(f"{self._folder}/config.yaml"), 2 * trainer.global_step
            yield f"  vjepa fit -c {settings} --ckpt_path {shlex.quote(str(checkpoint))} --trainer.max_steps {steps}"


# `vjepa` finds recipes by their names from every folder; `make` works in the checkout alone.
def evaluation_of(manifests: list[str], checkpoint: Path) -> str:
    """The command that evaluates a model: probes or surprise if it was trained on an embedded world, else features."""
    other = next((each for each in manifests if not _is_embedded(each)), None)
    if other is None:
        folder = Path(manifests[0]).parent.name if manifests else ""
        if folder and find_recipe(folder, ("surprise",)):
            return f"vjepa surprise -c {folder} --checkpoint {shlex.quote(str(checkpoint))}"
        recipe = folder if folder and find_recipe(folder, ("probe",)) else "synthetic"
        return f"vjepa probe -c {recipe} --checkpoint {shlex.quote(str(checkpoint))}"
    return f"vjepa embed {shlex.quote(other)} -o features --checkpoint {shlex.quote(str(checkpoint))}"


def _is_embedded(manifest: str) -> bool:
    return (Path(manifest).parent / EMBEDDED).exists()


def planning_of(episodes: str, checkpoint: Path) -> str:
    """The command that plans in the world of these episodes, by the recipe that has their folder's name."""
    name = Path(episodes).name
    recipe = name if name and find_recipe(name, ("plan",)) else "RECIPE_OF_THIS_WORLD"
    return f"vjepa plan -c {recipe} --checkpoint {shlex.quote(str(checkpoint))}"


def _last_checkpoint(trainer: Trainer) -> Path | None:
    """Of the run's folder, where there is one: a run that trained no step writes none."""
    named = [each.last for each in trainer.checkpoint_callbacks if isinstance(each, RunCheckpoint)]
    return next((path for path in named if path.exists()), None)
