"""The attentive probe: its short way of attending, its tasks, its beginning."""

import pytest
import torch

from vjepa.models import AttentiveProbe


@pytest.mark.parametrize("num_queries", [1, 3])
def test_attention_in_the_space_of_tokens_equals_keys_and_values(num_queries: int):
    torch.manual_seed(0)
    probe = AttentiveProbe(24, [5] * num_queries, num_heads=4)
    block = probe.cross_attention_block
    for parameter in probe.parameters():
        torch.nn.init.normal_(parameter)
    tokens = torch.randn(3, 7, 24)
    short = block(probe.queries, tokens)
    pooled = probe.queries + block.xattn(probe.queries, block.norm1(tokens))
    plain = pooled + block.mlp(block.norm2(pooled))
    torch.testing.assert_close(short, plain, rtol=1e-4, atol=1e-4)
    of_short = torch.autograd.grad(short.sum(), list(block.parameters()), retain_graph=True)
    of_plain = torch.autograd.grad(plain.sum(), list(block.parameters()))
    for ours, twin in zip(of_short, of_plain, strict=True):
        torch.testing.assert_close(ours, twin, rtol=1e-3, atol=1e-3)


def test_each_task_has_scores_of_its_own_classes():
    scores = AttentiveProbe(32, [97, 300, 3806], num_heads=2)(torch.randn(2, 6, 32))
    assert [task.shape for task in scores] == [(2, 97), (2, 300), (2, 3806)]


def test_four_blocks_are_three_of_self_attention():
    assert len(AttentiveProbe(32, [3], depth=4, num_heads=2).blocks) == 3


def test_a_probe_without_blocks_is_refused():
    with pytest.raises(ValueError, match=r"depth \(0\) .* at least 1"):
        AttentiveProbe(32, [3], depth=0)
