"""The networks of a pretraining run, from its checkpoint and the settings beside it."""

from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch import Tensor

from vjepa.interop.loading import load_all, read_run_checkpoint
from vjepa.interop.networks import require_fit, seeded, whole_settings
from vjepa.interop.portable import Origin, Part, PortableModel
from vjepa.interop.recipe import data_of, preprocessing_of, read_recipe
from vjepa.interop.report import Report
from vjepa.models import Predictor, VideoEncoder

EncoderName = Literal["target", "context"]
_ALIASES: dict[str, EncoderName] = {"target_encoder": "target", "encoder": "context", "context_encoder": "context"}


class PretrainedRun(NamedTuple):
    """What a run has left: its weights, and how its networks and clips were set."""

    checkpoint: Path
    weights: dict[str, Tensor]
    encoder_settings: dict[str, Any]
    predictor_settings: dict[str, Any] | None  # where nothing is predicted
    data_settings: dict[str, Any]
    step: int
    seed: int  # of its weights before training

    def encoder(self, which: EncoderName = "target") -> VideoEncoder:
        """The trained encoder. Raises ValueError where weights and settings don't fit."""
        encoder = self._new_encoder()
        load_all(encoder, self._below(self._prefix_of(which)), self.checkpoint)
        return encoder

    def predictor(self) -> Predictor:
        """The trained predictor. Raises ValueError where the run has none, or weights and settings don't fit."""
        predictor = self._new_predictor()
        load_all(predictor, self._below("predictor."), self.checkpoint)
        return predictor

    def untrained_encoder(self) -> VideoEncoder:
        """The encoder before training, drawn by the run's seed."""
        with seeded(self.seed):
            return self._new_encoder()

    def untrained_networks(self) -> tuple[VideoEncoder, Predictor]:
        """Encoder and predictor before training, drawn by the run's seed."""
        with seeded(self.seed):
            return self._new_encoder(), self._new_predictor()

    def _new_predictor(self) -> Predictor:
        if self.predictor_settings is None:
            raise ValueError(f"{self.checkpoint} has no predictor; give a run of JEPA")
        return Predictor(**self.predictor_settings)

    def _new_encoder(self) -> VideoEncoder:
        try:
            return VideoEncoder(**self.encoder_settings)
        except TypeError as error:
            raise ValueError(f"the encoder's settings beside {self.checkpoint} don't fit: {error}") from None

    def portable(self, which: str | None = None) -> tuple[PortableModel, Report]:
        """Encoder and predictor. Raises ValueError where there is no such encoder, or weights don't fit."""
        name = _ALIASES.get(which or "target", which or "target")
        if name not in ("target", "context"):
            raise ValueError(f"{self.checkpoint} has no encoder '{which}'; a run has target and context")
        report = Report(str(self.checkpoint), f"run, step {self.step}, {name} encoder")
        prefix = self._prefix_of(name)
        taken = (prefix, "predictor.")
        others = sorted({key.partition(".")[0] for key in self.weights if not key.startswith(taken)})
        report.dropped += [*others, "optimizer and loops"]
        model = PortableModel(
            "vjepa",
            Part(whole_settings(VideoEncoder, self.encoder_settings), self._below(prefix)),
            self._portable_predictor(),
            preprocessing=preprocessing_of(self.data_settings),
            origin=Origin(
                f"{self.checkpoint}, step {self.step}",
                f"{name} encoder",
                data_of(self.data_settings),
                f"vjepa fit -c {_settings_beside(self.checkpoint)}",
            ),
        )
        require_fit(model, report)
        return model, report

    def _portable_predictor(self) -> Part | None:
        if self.predictor_settings is None:
            return None
        return Part(whole_settings(Predictor, self.predictor_settings), self._below("predictor."))

    def _prefix_of(self, which: str) -> str:
        """What an encoder's weights are named by. A pixel baseline has one encoder, whichever is asked for."""
        return "encoder." if any(name.startswith("encoder.") for name in self.weights) else f"{which}_encoder."

    def _below(self, prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in self.weights.items() if name.startswith(prefix)}


def read_run(
    checkpoint: Path,
    settings: Path | None = None,  # the run's config.yaml; the one in the checkpoint's run folder if None
) -> PretrainedRun:
    """Read a checkpoint of `vjepa fit`. Raises ValueError where it or the run's settings are missing or broken."""
    content = read_run_checkpoint(checkpoint)
    file = settings or _settings_beside(checkpoint)
    if not file.exists():
        raise ValueError(f"the settings of {checkpoint} are not at {file}; give the run's config.yaml with --settings")
    recipe = read_recipe(file)
    step = int(content.get("global_step", 0))
    return PretrainedRun(
        checkpoint, content["state_dict"], recipe.encoder, recipe.predictor, recipe.data, step, recipe.seed
    )


def _settings_beside(checkpoint: Path) -> Path:
    return checkpoint.resolve().parent.parent / "config.yaml"


def newest_checkpoint(runs: Path) -> Path:
    """The checkpoint that was written last below a folder of runs. Raises ValueError where there is none."""
    found = sorted(runs.glob("*/*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise ValueError(f"there is no run below {runs} to probe; start one (`make pretrain`), or give --checkpoint")
    return found[-1]
