"""Watches whether embeddings collapse while a JEPA trains; goes to the run's logger as `health/...`."""

from functools import partial

from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vjepa.callbacks.log_now import log_now
from vjepa.data.batch import ClipBatch
from vjepa.evaluation.token_statistics import effective_rank, feature_std, variance_between_clips
from vjepa.objectives import normalized_targets
from vjepa.training import JEPA


class CollapseMonitor(Callback):
    """Every `every_n_steps` steps: effective rank (RankMe) and std of context, target and predicted tokens, and the
    variance of targets between clips. It listens to the networks of the step itself and adds no forward pass.

    Statistics are of the first mask and of rank 0's clips. 0 turns it off.
    """

    def __init__(self, every_n_steps: int = 25):
        self.every_n_steps = every_n_steps
        self._tokens: dict[str, Tensor] = {}
        self._listeners: list[RemovableHandle] = []

    def on_train_batch_start(self, trainer: Trainer, module: JEPA, batch: ClipBatch, batch_idx: int) -> None:
        is_due = self.every_n_steps and trainer.global_step % self.every_n_steps == 0
        if not is_due or not trainer.is_global_zero or self._listeners:
            return
        # The last layers: of several output levels the deepest, by whichever way a step calls its networks.
        layers = {
            "context": module.context_encoder.final_norm,
            "target": module.encoder_of_targets.final_norm,
            "predicted": module.predictor.proj,
        }
        self._listeners = [
            layer.register_forward_hook(partial(self._keep_first, name)) for name, layer in layers.items()
        ]

    def _keep_first(self, name: str, layer: nn.Module, inputs: tuple, tokens: Tensor) -> None:
        self._tokens.setdefault(name, tokens.detach())

    def on_train_batch_end(
        self, trainer: Trainer, module: JEPA, outputs: object, batch: ClipBatch, batch_idx: int
    ) -> None:
        if not self._listeners:
            return
        for listener in self._listeners:
            listener.remove()
        values = {}
        for name, tokens in self._tokens.items():
            values[f"health/{name}_rank"] = effective_rank(tokens)
            values[f"health/{name}_std"] = feature_std(tokens)
        if len(batch.clips) > 1:
            values["health/target_variance"] = variance_between_clips(normalized_targets(self._tokens["target"]))
        self._listeners, self._tokens = [], {}
        log_now(trainer, module, values)
