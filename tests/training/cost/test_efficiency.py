"""The `efficiency` part changes how a step is computed, and its results by rounding alone."""

import copy

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

from tests.quiet_trainer import quiet_trainer
from tests.training.test_jepa import batch, jepa, train
from vjepa.grid import TokenGrid
from vjepa.masking import MultiBlockTubes, ReferenceMultiBlockTubes
from vjepa.models.layers import Block
from vjepa.models.position import Position
from vjepa.training.cost.efficiency import Efficiency, compile_blocks, has_cpp_compiler
from vjepa.training.cost.step_cost import saved_bytes

GRID = TokenGrid(2, 4, 4)


def loss_and_gradients(module, step: int, of_batch=None) -> tuple[Tensor, dict[str, Tensor]]:
    module.zero_grad()
    loss = module.step(batch(step) if of_batch is None else of_batch).losses["loss"]
    loss.backward()
    return loss.detach(), {name: part.grad for name, part in module.named_parameters() if part.grad is not None}


@pytest.mark.parametrize("mode", ["selective", True])
@pytest.mark.parametrize("settings", [{}, {"mlp": "swiglu"}])
def test_recomputed_activations_change_no_gradient(mode, settings):
    plain = jepa()
    if settings:
        plain.context_encoder.blocks[0] = Block(24, 2, **settings)
    twin = copy.deepcopy(plain)
    Efficiency(activation_checkpointing=mode).on_fit_start(None, twin)
    assert all(part.activation_checkpointing == mode for part in twin.modules() if isinstance(part, Block))
    for ours, theirs in zip(loss_and_gradients(plain, 0), loss_and_gradients(twin, 0), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("lengths", [None, (700, 580)])
def test_bytes_kept_for_the_backward_pass(lengths):
    """By token, layer and unit of width in bf16, where attention is fused; the released code keeps 55.6."""
    width, tokens, depth = 64, 1280, 2
    x = torch.randn(1, tokens, width, requires_grad=True)
    rotary = Position("rotary", width, 2).rotary(TokenGrid(4, 16, 20), torch.device("cpu"))
    assert rotary is not None

    def kept(mode) -> float:
        blocks = nn.ModuleList(Block(width, 2, activation_checkpointing=mode) for _ in range(depth))

        def run() -> Tensor:
            tokens = x.bfloat16()
            with torch.autocast("cpu", torch.bfloat16):
                for block in blocks:
                    tokens = block(tokens, rotary, None, lengths)
            return tokens

        return saved_bytes(run, [*blocks.parameters(), *rotary, x]) / (depth * tokens * width)

    assert 30 < kept(False) <= 38
    assert 19 < kept("selective") <= 24
    assert kept(True) <= 4


@pytest.fixture
def unchecked(monkeypatch):
    """Shapes are not checked, since a compiler would look into the checks too."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
@pytest.mark.filterwarnings("ignore")  # of torch's own, while it compiles
@pytest.mark.parametrize("mode", [False, "selective", True])
def test_masks_of_other_lengths_compile_nothing_again_and_break_no_graph(mode):
    plain = jepa()
    module = copy.deepcopy(plain)
    Efficiency(activation_checkpointing=mode).on_fit_start(None, module)
    counter = CompileCounter()
    compile_blocks(module, counter)  # a break would raise: each block is one graph
    strategies = (ReferenceMultiBlockTubes(2, (0.1, 0.4)), MultiBlockTubes(2, (0.3, 0.7)))
    compiled, seen = [], set()
    for step in range(200 if mode is False else 20):
        generators = [np.random.default_rng((step, clip)) for clip in range(3)]
        masks = [draw(GRID, generators[0], generators[1:]) for draw in strategies]
        of_step = batch(step)._replace(masks=masks)
        loss, gradients = loss_and_gradients(module, step, of_step)
        compiled.append(counter.frame_count)
        seen.add(tuple(ids.shape[1] for mask in masks for ids in mask))
        if step % 10 == 0:
            expected, theirs = loss_and_gradients(plain, step, of_step)
            torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-6)
            torch.testing.assert_close(gradients, theirs, atol=1e-5, rtol=1e-5)
    assert compiled[0] > 0
    assert compiled[-1] == compiled[0]
    assert len(seen) > 5


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not has_cpp_compiler(), reason="torch.compile needs a C++ compiler")
def test_a_compiled_block_is_the_plain_one():
    torch.manual_seed(0)
    plain = Block(24, 2)
    compiled = copy.deepcopy(plain)
    compile_blocks(compiled)
    ids = torch.arange(20).expand(3, -1)
    rotary = Position("rotary", 24, 2).rotary(GRID, torch.device("cpu"), ids)
    for lengths in ((12, 8), (5, 15)):
        x = torch.randn(3, 20, 24, requires_grad=True)
        ours, theirs = (block(x, rotary, None, lengths) for block in (compiled, plain))
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
        (of_ours,), (of_theirs,) = (torch.autograd.grad(out.square().sum(), x) for out in (ours, theirs))
        torch.testing.assert_close(of_ours, of_theirs, atol=1e-4, rtol=1e-5)


def test_a_model_without_blocks_is_not_compiled():
    with pytest.raises(ValueError, match="no transformer blocks to compile"):
        compile_blocks(nn.Linear(2, 2))


def test_without_a_compiler_a_run_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("vjepa.training.cost.efficiency.has_cpp_compiler", lambda: False)
    with pytest.raises(ValueError, match=r"needs a C\+\+ compiler.*leave it out"):
        train(jepa(), tmp_path, 1, [Efficiency(compile=True)])


class ReadsByTheHost(torch.utils._python_dispatch.TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_a_training_step_reads_no_number_back(tmp_path):
    """`float(tensor)`, `.item()` and `if tensor` make the host wait for a GPU."""
    module = jepa()
    reads = []
    plain_step = module.optimizer_step

    def counted(*args, **kwargs):
        with ReadsByTheHost() as mode:
            plain_step(*args, **kwargs)
        reads.append(mode.count)

    module.optimizer_step = counted
    trainer = quiet_trainer(tmp_path, max_epochs=1, gradient_clip_val=1.0, precision="bf16-mixed")
    trainer.fit(module, torch.utils.data.DataLoader([batch(step) for step in range(3)], batch_size=None))
    assert reads == [0, 0, 0]
