"""Fast paths of the networks beside their plain twins: several masks in one pass, rotation without copies."""

import pytest
import torch
from torch import Tensor

from vjepa.grid import TokenGrid
from vjepa.masking import TubeMask
from vjepa.models import Predictor, VideoEncoder, encode_levels, encode_masks
from vjepa.models.layers import Attention, rotated_heads
from vjepa.models.position import Position, RotaryTable, rotary_table, rotate, rotate_into

GRID = TokenGrid(2, 4, 4)


def masks_of(counts: list[tuple[int, int]]) -> list[TubeMask]:
    generator = torch.Generator().manual_seed(0)
    masks = []
    for seen, hidden in counts:
        ids = torch.stack([torch.randperm(32, generator=generator) for _ in range(2)])
        masks.append(TubeMask(ids[:, :seen].sort().values, ids[:, seen : seen + hidden].sort().values))
    return masks


def gradients(outputs: list[Tensor], module: torch.nn.Module) -> dict[str, Tensor]:
    module.zero_grad()
    sum((output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum() for output in outputs).backward()
    return {name: part.grad.clone() for name, part in module.named_parameters() if part.grad is not None}


def assert_same(packed: list[Tensor], plain: list[Tensor], module: torch.nn.Module) -> None:
    for ours, twin in zip(packed, plain, strict=True):
        torch.testing.assert_close(ours, twin, atol=1e-5, rtol=1e-5)
    ours, twin = gradients(packed, module), gradients(plain, module)
    assert ours.keys() == twin.keys()
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, twin[name], atol=1e-4, rtol=1e-4, msg=name)


ENCODERS = {
    "rotary": {"position": "rotary_tiled"},
    "added positions": {"position": "sincos"},
    "levels": {"output_levels": (0, 1), "modality_embeddings": True, "image_tokenizer": True},
    "recomputed": {"activation_checkpointing": True},
    "causal": {"attention": "causal"},
    "class token": {"class_token": True},
}


@pytest.mark.parametrize("settings", ENCODERS.values(), ids=ENCODERS)
@pytest.mark.parametrize("counts", [[(9, 20), (5, 27)], [(8, 8), (8, 24), (3, 4)]])
def test_masks_in_one_pass_give_the_tokens_of_one_by_one(settings, counts):
    torch.manual_seed(0)
    encoder = VideoEncoder(embed_dim=24, depth=2, num_heads=2, tubelet=(2, 4, 4), **settings)
    clips, ids = torch.randn(2, 3, 4, 16, 16), [mask.context_ids for mask in masks_of(counts)]
    levels = encoder.num_output_levels
    packed = encode_masks(encoder, clips, levels, ids)
    assert_same(packed, [encode_levels(encoder, clips, levels, each) for each in ids], encoder)


def test_a_token_of_one_mask_sees_none_of_another():
    torch.manual_seed(0)
    encoder = VideoEncoder(embed_dim=24, depth=2, num_heads=2, tubelet=(2, 4, 4))
    first, second = (torch.arange(start, start + 8).expand(2, -1) for start in (0, 16))
    clips = torch.randn(2, 3, 4, 16, 16)
    before = encode_masks(encoder, clips, 1, [first, second])
    clips[:, :, 2:] = 0  # ids from 16 are the later frames
    after = encode_masks(encoder, clips, 1, [first, second])
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])


@pytest.mark.parametrize("settings", [{}, {"memory_width": 8}, {"position": "sincos"}, {"modality_embeddings": True}])
def test_predictions_of_several_masks_are_those_of_one_by_one(settings):
    torch.manual_seed(0)
    predictor = Predictor(
        encoder_dim=16,
        embed_dim=24,
        depth=2,
        num_heads=2,
        num_mask_tokens=2,
        zero_init_mask_tokens=False,
        predict_context=True,
        **settings,
    )
    masks = masks_of([(9, 20), (5, 27)])
    contexts = [torch.randn(*mask.context_ids.shape, 16) for mask in masks]
    hidden, visible = predictor.forward_masks(contexts, masks, GRID, [0, 1], with_context=True)
    plain = [
        predictor.forward_with_context(context, mask, GRID, number)
        for number, (context, mask) in enumerate(zip(contexts, masks, strict=True))
    ]
    assert_same([*hidden, *visible], [*(pair[0] for pair in plain), *(pair[1] for pair in plain)], predictor)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tiled", [True, False])
@pytest.mark.parametrize("turned", [True, False])
def test_heads_and_their_gradients_are_those_of_the_formula(dtype, tiled, turned):
    torch.manual_seed(0)
    attention = Attention(32, 2).to(dtype)
    table = RotaryTable(*(part[None, None] for part in rotary_table(torch.randint(0, 9, (5, 3)), 16, tiled)))
    rotary = table if turned else None
    x = torch.randn(3, 5, 32, dtype=dtype, requires_grad=True)
    twin = rotated_heads(attention.qkv(x).unflatten(-1, (3, -1, 16)), rotary)
    ours = attention._heads(attention.qkv(x), rotary)
    tolerance = {"atol": 1e-6, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 1e-2, "rtol": 1e-2}
    for mine, plain in zip(ours, twin, strict=True):
        assert mine.dtype == plain.dtype == dtype
        torch.testing.assert_close(mine, plain, **tolerance)
    upstream = [torch.randn_like(part) for part in twin]
    (of_twin,) = torch.autograd.grad(twin, x, upstream)
    (of_ours,) = torch.autograd.grad(ours, x, upstream)
    torch.testing.assert_close(of_ours, of_twin, **tolerance)


def test_a_rotation_by_hand():
    quarter = RotaryTable(torch.zeros(1, 4), torch.tensor([[-1.0, 1.0, -1.0, 1.0]]))  # by 90 degrees
    x, out = torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]]]), torch.empty(1, 1, 1, 4)
    assert rotate(x, quarter).flatten().tolist() == [-2.0, 1.0, -4.0, 3.0]
    rotate_into(out, x, quarter)
    assert out.flatten().tolist() == [-2.0, 1.0, -4.0, 3.0]
    rotate_into(out, rotate(x, quarter), quarter, transposed=True)
    assert torch.equal(out, x)


def test_a_table_of_positions_is_made_once_for_a_grid_and_usable_after_inference():
    position = Position("rotary", 24, 2)
    with torch.inference_mode():
        first = position.rotary(GRID, torch.device("cpu"))
    again = position.rotary(GRID, torch.device("cpu"))
    assert first.cosine.data_ptr() == again.cosine.data_ptr()
    x = torch.ones(1, 1, 32, 12, requires_grad=True)
    rotate(x, again).sum().backward()  # an inference tensor would refuse
    other = position.rotary(TokenGrid(1, 4, 4), torch.device("cpu"))
    assert other.cosine.shape[-2] == 16
