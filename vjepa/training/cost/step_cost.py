"""The cost of a training step, counted and not timed: operations, FLOPs, and bytes kept for the backward pass.

Operations and FLOPs need no data: they are counted on the meta device, in seconds for a model of any size.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from vjepa.data.clips.batch import ClipBatch
from vjepa.masking import TubeMask
from vjepa.training.jepa import JEPA

# They make no kernel run: views that torch doesn't call so, and memory that is not filled.
WITHOUT_KERNEL = {"aten.detach", "aten._unsafe_view", "aten.empty", "aten.empty_like", "aten.new_empty"}


class OperationCount(TorchDispatchMode):
    """Counts the operations that move or compute numbers, by name; views and bare allocations are left out."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.by_name: Counter[str] = Counter()

    @property
    def total(self) -> int:
        return self.by_name.total()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func.overloadpacket)
        if not func.is_view and name not in WITHOUT_KERNEL:
            self.by_name[name] += 1
        return func(*args, **(kwargs or {}))


def operations_of_step(model: JEPA, batch: ClipBatch) -> Counter[str]:
    """Operations of forward and backward pass, by name, without those that only the first step has."""
    run_step(model, batch)
    with OperationCount() as count:
        run_step(model, batch)
    return count.by_name


def flops_of_step(model: JEPA, batch: ClipBatch) -> int:
    """FLOPs of forward and backward pass by torch's counter; 2 per multiply-add, products of matrices alone."""
    with FlopCounterMode(display=False) as counter:
        run_step(model, batch)
    return counter.get_total_flops()


def saved_bytes(tensors: Callable[[], Any], exclude: Iterable[Tensor] = ()) -> int:
    """Bytes that autograd keeps for the backward pass of what a function computes, each storage once.

    `exclude`: tensors that are there in any case, such as parameters.
    """
    others = {part.untyped_storage()._cdata for part in exclude}
    kept: dict[int, torch.UntypedStorage] = {}  # held, so that no address is used again

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in others:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = tensors()
    del result
    return sum(storage.nbytes() for storage in kept.values())


def run_step(model: JEPA, batch: ClipBatch) -> Tensor:
    """The loss of a batch, after the backward pass; no gradient is left."""
    loss = model.step(batch).losses["loss"]
    loss.backward()
    model.zero_grad()
    return loss.detach()


def meta_batch(
    num_clips: int,
    clip: tuple[int, int, int],  # frames, height, width
    token_counts: Sequence[tuple[int, int]],  # visible and hidden tokens of each mask
) -> ClipBatch:
    """A batch of these shapes on the meta device."""
    with torch.device("meta"):
        rows = torch.zeros(num_clips, dtype=torch.int64)
        masks = [
            TubeMask(*(torch.zeros(num_clips, count, dtype=torch.int64) for count in pair)) for pair in token_counts
        ]
        clips = torch.zeros(num_clips, 3, *clip, dtype=torch.uint8)
        return ClipBatch(clips, masks, rows, rows, rows, rows, rows.float(), [])
