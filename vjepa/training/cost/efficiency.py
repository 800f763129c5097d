"""How a run computes: what changes its speed and memory, and its results by rounding alone."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from vjepa.models.dynamics.causal import ConditionedBlock
from vjepa.models.layers import Block, Checkpointing


class Efficiency(Callback):
    """The `efficiency` part of a recipe, for models with transformer blocks.

    Args:
        compile: compile each kind of block once, for any length of masks (torch.compile). For GPUs; on a CPU compiling
            takes a minute or more, and the step gets no faster.
        activation_checkpointing: of all blocks, as for `VideoEncoder`. None: as each network says.
    """

    def __init__(self, compile: bool = False, activation_checkpointing: Checkpointing | None = None):
        self.compile = compile
        self.activation_checkpointing = activation_checkpointing

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:  # a teacher has been read by now
        """Raises ValueError where the model has nothing to compile, or nothing compiles here."""
        if self.activation_checkpointing is not None:
            for block in _blocks(module):
                if isinstance(block, Block):
                    block.activation_checkpointing = self.activation_checkpointing
        if self.compile:
            require_compiler(module.device)
            compile_blocks(module)


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
