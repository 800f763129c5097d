"""The encoder of a pretraining run, from its checkpoint and the settings beside it."""

from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from torch import Tensor

from vjepa.interop.loading import load_all, read_checkpoint
from vjepa.models import SIZES, Predictor, VideoEncoder

EncoderName = Literal["target", "context"]


class PretrainedRun(NamedTuple):
    """What a run has left: its weights, and how its networks and clips were set."""

    checkpoint: Path
    weights: dict[str, Tensor]
    encoder_settings: dict[str, Any]
    predictor_settings: dict[str, Any]
    data_settings: dict[str, Any]
    step: int

    def encoder(self, which: EncoderName = "target") -> VideoEncoder:
        """The trained encoder. Raises ValueError where weights and settings don't fit."""
        encoder = self.untrained_encoder()
        load_all(encoder, self._below(f"{which}_encoder."), self.checkpoint)
        return encoder

    def predictor(self) -> Predictor:
        predictor = Predictor(**self.predictor_settings)
        load_all(predictor, self._below("predictor."), self.checkpoint)
        return predictor

    def untrained_encoder(self) -> VideoEncoder:
        """The same network with weights as they are drawn before training, from torch's global generator."""
        try:
            return VideoEncoder(**self.encoder_settings)
        except TypeError as error:
            raise ValueError(f"the encoder's settings beside {self.checkpoint} don't fit: {error}") from None

    def _below(self, prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in self.weights.items() if name.startswith(prefix)}


def read_run(
    checkpoint: Path,
    settings: Path | None = None,  # the run's config.yaml; the one in the checkpoint's run folder if None
) -> PretrainedRun:
    """Read a checkpoint of `vjepa fit`. Raises ValueError where it or the run's settings are missing or broken."""
    content = read_checkpoint(checkpoint)
    if "state_dict" not in content:
        raise ValueError(f"{checkpoint} has no 'state_dict': it is no checkpoint of a vjepa run")
    file = settings or checkpoint.resolve().parent.parent / "config.yaml"
    try:
        recipe = yaml.safe_load(file.read_text())
        parts = recipe["model"]["init_args"]
        encoder, predictor, data = parts["encoder"], parts["predictor"], recipe["data"]["init_args"]
        # The command line links it to the encoder, and leaves it out of the settings that it writes.
        width = encoder.get("embed_dim") or SIZES[encoder.get("size", "tiny")].embed_dim
        predictor = predictor | {"encoder_dim": width}
    except FileNotFoundError:
        raise ValueError(
            f"the settings of {checkpoint} are not at {file}; give the run's config.yaml with --settings"
        ) from None
    except (yaml.YAMLError, KeyError, TypeError):
        raise ValueError(f"{file} holds no settings of a vjepa run (model.init_args.encoder, data.init_args)") from None
    return PretrainedRun(
        checkpoint, content["state_dict"], encoder, predictor, data, int(content.get("global_step", 0))
    )


def newest_checkpoint(runs: Path) -> Path:
    """The checkpoint that was written last below a folder of runs. Raises ValueError where there is none."""
    found = sorted(runs.glob("*/*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise ValueError(f"there is no run below {runs} to probe; start one (`make pretrain`), or give --checkpoint")
    return found[-1]
