"""Truths about encoder, predictor, positions and EMA that hold without a reference."""

import copy
from itertools import product

import pytest
import torch
import torch.nn.functional as F

from vjepa.grid import TokenGrid, gather_tokens
from vjepa.masking import TubeMask
from vjepa.models import SIZES, Predictor, VideoEncoder, frozen_copy, update_ema
from vjepa.models.layers import TubeletEmbedding, written_out_attention
from vjepa.models.position import rotary_table, rotate, sincos_table
from vjepa.models.predictor import last_seen

POSITIONS = ["rotary", "rotary_tiled", "sincos", "sincos_uniform"]


def tiny_encoder(**settings) -> VideoEncoder:
    torch.manual_seed(0)
    return VideoEncoder(**({"embed_dim": 48, "depth": 2, "num_heads": 2, "tubelet": (2, 4, 4)} | settings))


def scattered(num_clips: int, grid: TokenGrid, num_context: int) -> TubeMask:
    ids = torch.stack([torch.randperm(grid.num_tokens) for _ in range(num_clips)])
    return TubeMask(ids[:, :num_context].sort().values, ids[:, num_context:].sort().values)


@pytest.mark.parametrize("position", POSITIONS)
def test_all_token_ids_give_the_whole_clip(position):
    encoder, clips = tiny_encoder(position=position), torch.randn(2, 3, 4, 16, 12)
    ids = torch.arange(2 * 4 * 3).expand(2, -1)
    torch.testing.assert_close(encoder(clips, ids), encoder(clips))


@pytest.mark.parametrize("position", POSITIONS)
def test_hidden_pixels_change_nothing_in_the_context(position):
    encoder, clips = tiny_encoder(position=position), torch.randn(2, 3, 4, 16, 16)
    mask = scattered(2, encoder.grid_of(clips), 10)
    before = encoder(clips, mask.context_ids)
    other = torch.randn_like(clips)
    visible = torch.zeros(2, 32).scatter_(1, mask.context_ids, 1.0).view(2, 1, 2, 4, 4)
    visible = visible.repeat_interleave(2, 2).repeat_interleave(4, 3).repeat_interleave(4, 4)
    torch.testing.assert_close(encoder(torch.where(visible > 0, clips, other), mask.context_ids), before)


def test_tubelet_embedding_is_the_convolution():
    embedding, clips = TubeletEmbedding((2, 4, 4), 16), torch.randn(2, 3, 4, 8, 12)
    torch.testing.assert_close(embedding(clips), embedding.proj(clips).flatten(2).transpose(1, 2), atol=1e-5, rtol=1e-5)


def test_written_out_attention_is_the_fused_one():
    query, key, value = torch.randn(3, 2, 4, 9, 16, dtype=torch.float64)
    torch.testing.assert_close(
        written_out_attention(query, key, value), F.scaled_dot_product_attention(query, key, value)
    )


def test_activation_checkpointing_changes_no_gradient():
    clips, gradients = torch.randn(2, 3, 4, 16, 16), []
    for checkpointing in (False, True):
        encoder = tiny_encoder(activation_checkpointing=checkpointing)
        encoder(clips).square().mean().backward()
        gradients.append([parameter.grad for parameter in encoder.parameters()])
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.equal(ours, theirs)


def test_the_last_level_is_the_output():
    encoder, clips = tiny_encoder(depth=3), torch.randn(1, 3, 4, 16, 16)
    first, last = encoder.forward_levels(clips, [0, 2])
    torch.testing.assert_close(last, encoder(clips))
    assert not torch.allclose(first, last)


def test_an_encoder_of_changes_sees_nothing_of_what_stays():
    encoder, clips = tiny_encoder(difference_gain=2.0, position="sincos"), torch.randn(2, 3, 4, 16, 16)
    background = torch.randn(2, 3, 1, 16, 16)
    torch.testing.assert_close(encoder(clips + background), encoder(clips))
    plain = tiny_encoder(position="sincos")
    torch.testing.assert_close(encoder(clips), plain(2 * (clips - clips.mean(2, keepdim=True))))
    with pytest.raises(ValueError, match="images have no changes to see"):
        tiny_encoder(difference_gain=1.0, image_tokenizer=True)


def test_an_encoder_of_frames_apart_sees_each_by_itself():
    encoder, clips = tiny_encoder(per_frame=True, depth=2), torch.randn(2, 3, 6, 16, 16)
    frames = encoder.grid_of(clips).frames
    assert frames > 1
    alone = [tiny_encoder(depth=2)(part) for part in clips.chunk(frames, dim=2)]
    for ours in (encoder(clips), encoder.forward_outputs(clips)):
        torch.testing.assert_close(ours, torch.cat(alone, dim=1))
    with pytest.raises(ValueError, match="masked by whole tubelets"):
        encoder(clips, torch.zeros(2, 1, dtype=torch.int64))
    with pytest.raises(ValueError, match="per_frame sees frames alone already"):
        tiny_encoder(per_frame=True, difference_gain=1.0)


def test_a_level_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match=r"levels \[5\] do not exist; this encoder has levels 0 to 1"):
        tiny_encoder().forward_levels(torch.randn(1, 3, 4, 16, 16), [5])


@pytest.mark.parametrize("tiled", [False, True])
def test_rotary_scores_depend_on_distance_only_unless_tiled(tiled):
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 1, 1, 24)
    distance = torch.tensor([[3, 1, 2]])
    scores = []
    for place in (torch.tensor([[0, 0, 0]]), torch.tensor([[7, 5, 9]])):
        here, there = (rotary_table(position, 24, tiled) for position in (place, place + distance))
        scores.append((rotate(query, here) * rotate(key, there)).sum().item())
    assert (scores[0] == pytest.approx(scores[1], abs=1e-4)) is not tiled


# One axis of 8 channels with values 1 to 8 at position 3, by running the released code.
ROTATED = {
    True: [-1.272233, 2.206193, 2.878668, 4.008982, -5.796682, 7.209620, 6.756886, 8.020965],
    False: [-1.272233, -1.838865, 1.683929, 4.707907, 4.817777, 6.147278, 6.975968, 8.020965],
}


@pytest.mark.parametrize("tiled", [True, False])
def test_rotary_forms_match_the_released_values(tiled):
    table = rotary_table(torch.tensor([[3, 0, 0]]), 24, tiled)
    axis = torch.arange(1.0, 9.0).repeat(3).view(1, 1, 1, 24)
    torch.testing.assert_close(rotate(axis, table)[0, 0, 0, :8], torch.tensor(ROTATED[tiled]), atol=1e-5, rtol=0)


def test_sincos_tables_match_the_released_values():
    token = 5  # (1, 0, 1) on a 2 x 2 x 2 grid
    sine, cosine = [0.8415, 0.0998, 0.0100, 0.0010], [0.5403, 0.9950, 1.0, 1.0]
    uniform = sine + cosine + [0.0] * 4 + [1.0] * 4 + sine + cosine
    plain = [*sine, *cosine, 0, 0, 1, 1, 0.8415, 0.0100, 0.5403, 1.0]
    for table, expected in (
        (sincos_table(TokenGrid(2, 2, 2), 24, True), uniform),
        (sincos_table(TokenGrid(2, 2, 2), 16, False), plain),
    ):
        torch.testing.assert_close(table[token], torch.tensor(expected), atol=1e-4, rtol=0)


def test_positions_stretch_to_the_known_grid():
    encoder = tiny_encoder(position="rotary", position_grid=(2, 4, 4))
    same = tiny_encoder(position="rotary")
    small, large = torch.randn(1, 3, 4, 16, 16), torch.randn(1, 3, 4, 32, 32)
    torch.testing.assert_close(encoder(small), same(small))
    assert not torch.allclose(encoder(large), same(large))


@pytest.mark.parametrize("memory_width", [0, 8])
def test_predictions_do_not_depend_on_the_order_of_tokens(memory_width):
    torch.manual_seed(0)
    predictor = Predictor(encoder_dim=48, embed_dim=24, depth=2, num_heads=2, memory_width=memory_width)
    grid = TokenGrid(2, 4, 4)
    mask, context = scattered(2, grid, 12), torch.randn(2, 12, 48)
    order = torch.randperm(12)
    shuffled = predictor(context[:, order], mask._replace(context_ids=mask.context_ids[:, order]), grid)
    torch.testing.assert_close(predictor(context, mask, grid), shuffled, atol=1e-6, rtol=1e-5)


def test_predictions_for_a_target_do_not_depend_on_where_it_is_listed():
    torch.manual_seed(0)
    predictor, grid = Predictor(encoder_dim=48, embed_dim=24, depth=2, num_heads=2), TokenGrid(2, 4, 4)
    mask, context = scattered(1, grid, 12), torch.randn(1, 12, 48)
    order = torch.randperm(mask.target_ids.shape[1])
    shuffled = predictor(context, mask._replace(target_ids=mask.target_ids[:, order]), grid)
    torch.testing.assert_close(
        gather_tokens(predictor(context, mask, grid), order[None]), shuffled, atol=1e-6, rtol=1e-5
    )


def test_the_last_seen_token_is_the_latest_visible_one_before():
    torch.manual_seed(0)
    grid = TokenGrid(4, 2, 3)
    mask, context = scattered(2, grid, 14), torch.randn(2, 14, 5)
    found = last_seen(context, mask, grid)
    for clip, number in product(range(2), range(10)):
        before = range(int(mask.target_ids[clip, number]) - 6, -1, -6)
        seen = [int(k) for each in before for k in (mask.context_ids[clip] == each).nonzero()]
        expected = context[clip, seen[0]] if seen else torch.zeros(5)
        torch.testing.assert_close(found[clip, number], expected)


def test_a_negative_memory_width_is_refused():
    with pytest.raises(ValueError, match=r"memory_width \(-1\) must be 0, which is none, or more"):
        Predictor(memory_width=-1)


def test_500_small_steps_of_the_ema_close_31_percent_of_the_distance():
    target, other = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)
    start = target.weight.detach().clone()
    for _ in range(500):
        update_ema(target, other, 0.99925)  # in bfloat16 they close 2.5 %
    closed = (target.weight - start).norm() / (other.weight - start).norm()
    assert closed.item() == pytest.approx(1 - 0.99925**500, abs=1e-3) == pytest.approx(0.313, abs=1e-3)


def test_ema_keeps_at_1_copies_at_0_and_moves_between():
    source, other = tiny_encoder(), tiny_encoder()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1.0)
    for momentum in (1.0, 0.0, 0.9):
        target = frozen_copy(source)
        update_ema(target, other, momentum)
        for moved, old, new in zip(target.parameters(), source.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(moved, momentum * old + (1 - momentum) * new)
            assert not moved.requires_grad


def test_a_frozen_copy_is_a_copy():
    source = tiny_encoder()
    target = frozen_copy(source)
    before = copy.deepcopy(target.state_dict())
    with torch.no_grad():
        source.norm.weight.add_(1.0)
    assert torch.equal(target.norm.weight, before["norm.weight"])


# Millions of parameters of the released encoders (rotary, no position table).
@pytest.mark.parametrize(
    ("size", "millions"),
    [
        ("tiny", 5.63),
        ("small", 21.88),
        ("base", 86.24),
        ("large", 303.9),
        ("huge", 631.6),
        ("giant", 1012.2),
        ("gigantic", 1843.9),
    ],
)
def test_sizes_have_the_released_number_of_parameters(size, millions):
    with torch.device("meta"):
        encoder = VideoEncoder(size)
    assert sum(parameter.numel() for parameter in encoder.parameters()) / 1e6 == pytest.approx(millions, rel=2e-3)
    assert len(encoder.state_dict()) == 4 + 12 * SIZES[size].depth


def test_first_layers_of_deep_branches_start_smaller():
    encoder = tiny_encoder(embed_dim=192, depth=8)
    stds = [block.attn.proj.weight.std().item() for block in encoder.blocks]
    assert stds == pytest.approx([0.02 / (2 * number) ** 0.5 for number in range(1, 9)], rel=0.05)
