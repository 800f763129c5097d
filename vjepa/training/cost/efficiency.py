"""How a run computes: what changes its speed and memory, and its results by rounding alone."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only
from torch import nn
from torch.distributed.fsdp import FSDPModule

from vjepa.data.ordered_data_module import OrderedDataModule
from vjepa.models.dynamics.causal import ConditionedBlock
from vjepa.models.layers import Block, Checkpointing
from vjepa.training.clip_model import ClipModel
from vjepa.training.scheduled_module import ScheduledModule


class Efficiency(Callback):
    """The `efficiency` part of a recipe, for models with transformer blocks.

    Args:
        compile: compile each kind of block once, for any length of masks (torch.compile). For GPUs; on a CPU compiling
            takes a minute or more, and the step gets no faster.
        activation_checkpointing: of all blocks, as for `VideoEncoder`. None: as each network says.
        max_micro_batch: most clips that a device computes at once. A device's part of the global batch that is larger
            is computed in equal parts whose gradients are added up, for less memory and the same result. Only for
            losses that are means over clips: a regularizer compares those of the whole batch. None: all at once.
    """

    def __init__(
        self,
        compile: bool = False,
        activation_checkpointing: Checkpointing | None = None,
        max_micro_batch: int | None = None,
    ):
        if max_micro_batch is not None and max_micro_batch < 1:
            raise ValueError(f"efficiency.max_micro_batch ({max_micro_batch}) must be at least 1, or null for no limit")
        self.max_micro_batch = max_micro_batch
        self.compile = compile
        self.activation_checkpointing = activation_checkpointing

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:  # a teacher has been read by now
        """Raises ValueError where the model has nothing to compile, or nothing compiles here."""
        if self.activation_checkpointing is not None:
            for block in _blocks(module):
                if isinstance(block, Block):
                    block.activation_checkpointing = self.activation_checkpointing
        accumulated = 1 if trainer is None else trainer.accumulate_grad_batches
        if accumulated > 1 and (compared := terms_of_whole_batches(module)):
            rank_zero_only(print)(
                f"accumulate_grad_batches ({accumulated}): the terms {', '.join(compared)} compare the clips of each "
                f"batch, not those of an optimizer step"
            )
        if self.max_micro_batch is not None and isinstance(module, ScheduledModule):
            data = trainer.datamodule  # type: ignore[attr-defined]
            number = num_micro_batches(data, trainer.world_size, self.max_micro_batch)
            if number > 1:
                require_means_over_clips(module, trainer)
            module.num_micro_batches = number
        if self.compile:
            require_compiler(module.device)
            compile_blocks(module)


def num_micro_batches(data: OrderedDataModule, num_ranks: int, most: int) -> int:
    """Parts of a rank's batch. Raises ValueError where as many as are needed would not be equal."""
    clips, (name, group) = data.global_batch_size // num_ranks, data.group
    number = -(-clips // most)
    if clips % (number * group) == 0:
        return number
    fitting = [size for size in range(group, clips + 1, group) if clips % size == 0]
    near = [*[size for size in fitting if size < most][-1:], *[size for size in fitting if size > most][:1]]
    groups = f" by {group} ({name})" if group > 1 else ""
    raise ValueError(
        f"the {clips} clips of a rank (global_batch_size {data.global_batch_size} on {num_ranks}) are no {number} "
        f"equal parts{groups} of at most efficiency.max_micro_batch ({most}); give "
        f"--efficiency.max_micro_batch={' or '.join(map(str, near))}, or a global_batch_size of "
        f"{max(1, clips // (number * group)) * number * group * num_ranks}"
    )


def terms_of_whole_batches(module: LightningModule) -> list[str]:
    """Names of terms that are more than means over the clips of a batch."""
    objective = getattr(module, "objective", None)
    return [] if objective is None else [str(term.name) for term in objective.terms if not term.averages_clips]


def require_means_over_clips(module: ScheduledModule, trainer: Trainer) -> None:
    """Raise ValueError where a part of a batch would give another gradient than its clips give in the whole batch."""
    way_out = "give more devices, efficiency.activation_checkpointing, or a smaller data.global_batch_size"
    if not isinstance(module, ClipModel) or not hasattr(module, "objective"):
        raise ValueError(f"efficiency.max_micro_batch is for JEPA and pixels on clips, not for this model; {way_out}")
    if whole := terms_of_whole_batches(module):
        raise ValueError(
            f"efficiency.max_micro_batch would compute a batch in parts, and the terms {', '.join(whole)} compare the "
            f"clips of a whole batch; {way_out}"
        )
    if getattr(module, "predicted_fraction", 1.0) < 1:
        raise ValueError(f"efficiency.max_micro_batch would mask other clips with a predicted_fraction; {way_out}")
    if trainer.accumulate_grad_batches > 1:
        raise ValueError(
            "efficiency.max_micro_batch accumulates within a global batch already; leave out "
            "trainer.accumulate_grad_batches, and give the clips of an optimizer step as data.global_batch_size"
        )


def compile_blocks(module: nn.Module, backend: object = "inductor") -> None:
    """Compile each block in place: blocks of a kind share one graph, and masks of other lengths too.

    Raises ValueError where there is no block.
    """
    blocks = _blocks(module)
    if not blocks:
        raise ValueError("this model has no transformer blocks to compile; leave out efficiency.compile")
    # Of one forward function: context, target and predictor, in training and in evaluation, with and without views.
    torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
    for block in blocks:
        if isinstance(block, FSDPModule):  # the hooks that gather and free its weights stay outside
            block.forward = torch.compile(block.forward, backend=backend, dynamic=True, fullgraph=True)  # type: ignore
        else:
            block.compile(backend=backend, dynamic=True, fullgraph=True)


def require_compiler(device: torch.device) -> None:
    """Raise ValueError where torch.compile finds no compiler for this device."""
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        if not has_triton():
            raise ValueError("efficiency.compile needs Triton, and this GPU or installation has none; leave it out")
    elif device.type == "cpu" and not has_cpp_compiler():
        raise ValueError("efficiency.compile needs a C++ compiler on a CPU; install g++, or leave it out")


def has_cpp_compiler() -> bool:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return False
    return True


def _blocks(module: nn.Module) -> list[Block | ConditionedBlock]:
    return [part for part in module.modules() if isinstance(part, Block | ConditionedBlock)]
