"""The memory of a predictor: equal to its plain twin, blind to later frames, relative to what is seen first."""

import pytest
import torch

from vjepa.grid import TokenGrid, gather_tokens
from vjepa.masking import TubeMask, future_mask, next_frames_mask
from vjepa.models import Predictor
from vjepa.models.past_memory import PastMemory, first_contrast

GRID = TokenGrid(4, 3, 2)
PLANE = 6


def scattered(num_clips: int, num_context: int) -> TubeMask:
    ids = torch.stack([torch.randperm(GRID.num_tokens) for _ in range(num_clips)])
    return TubeMask(ids[:, :num_context].sort().values, ids[:, num_context:].sort().values)


def plain_memory(memory: PastMemory, context: torch.Tensor, mask: TubeMask) -> torch.Tensor:
    """One clip after another, one frame after another, with the gates written as in the paper."""
    found = []
    for tokens, seen_ids, hidden_ids in zip(context, *mask, strict=True):
        first = seen_ids.min() // PLANE
        of_first = tokens[seen_ids // PLANE == first]
        centred = tokens - of_first.mean(0)
        centred = centred / (of_first - of_first.mean(0)).square().mean().sqrt().clamp_min(0.01)
        state = torch.zeros(1, memory.width, 3, 2)
        before, was_seen, expected = torch.zeros(2, 5, 3, 2), torch.zeros(1, 3, 2), []
        for frame in range(4):
            expected.append(memory.expect(torch.cat((state[0], *before))[None])[0].flatten(1).T)
            now, is_seen = torch.zeros(5, 3, 2), torch.zeros(1, 3, 2)
            for token, number in zip(centred, seen_ids.tolist(), strict=True):
                if number // PLANE == frame:
                    now[:, number % PLANE // 2, number % 2] = token
                    is_seen[:, number % PLANE // 2, number % 2] = 1
            before = torch.stack((now, (now - before[0]) * is_seen * was_seen))
            was_seen = is_seen
            inputs = memory.inputs(memory.read(torch.cat((*before, is_seen))[None])).split(memory.width, dim=1)
            r_state, z_state = memory.gates(state).split(memory.width, dim=1)
            reset, update = torch.sigmoid(inputs[0] + r_state), torch.sigmoid(inputs[1] + z_state)
            proposed = torch.tanh(inputs[2] + memory.candidate(reset * state))
            state = (1 - update) * state + update * proposed
        found.append(torch.cat(expected)[hidden_ids])
    return torch.stack(found)


@pytest.mark.parametrize("mask", [scattered(2, 10), next_frames_mask(GRID, 1, 2)], ids=["tubelets", "next frames"])
def test_it_is_its_plain_twin(mask):
    torch.manual_seed(0)
    memory, context = PastMemory(5, 7, 9), torch.randn(2, mask.context_ids.shape[1], 5)
    found = memory(context, mask, GRID)
    assert found.shape == (2, mask.target_ids.shape[1], 9)
    torch.testing.assert_close(found, plain_memory(memory, context, mask), atol=1e-5, rtol=1e-5)


def test_contrast_is_of_the_first_visible_frame():
    context = torch.arange(24.0).reshape(1, 12, 2)
    mask = TubeMask(torch.arange(6, 18)[None], torch.arange(18, 24)[None])
    mean, spread = first_contrast(context, mask, GRID)
    assert mean.tolist() == [[[5.0, 6.0]]]  # of 0, 2, ... 10 and 1, 3, ... 11
    assert float(spread) == pytest.approx((70 / 6) ** 0.5)
    assert float(first_contrast(torch.ones(1, 12, 2), mask, GRID)[1]) == pytest.approx(0.01)


def predictor() -> Predictor:
    torch.manual_seed(0)
    return Predictor(5, 12, depth=0, num_heads=2, memory_width=6).eval()


def test_each_frame_is_predicted_as_from_its_past_alone():
    network, mask = predictor(), next_frames_mask(GRID, 1, 2)
    context = torch.randn(2, 3 * PLANE, 5)
    at_once = network(context, mask, GRID)
    for frames in (1, 2, 3):
        past = future_mask(GRID, frames, 1, 2)
        alone = network(context[:, : frames * PLANE], past, GRID)
        torch.testing.assert_close(at_once[:, (frames - 1) * PLANE : frames * PLANE], alone, atol=1e-6, rtol=1e-5)


def test_no_frame_changes_an_earlier_prediction_nor_its_own():
    network, mask = predictor(), next_frames_mask(GRID, 1, 2)
    context = torch.randn(2, 3 * PLANE, 5)
    other = context.clone()
    other[:, 2 * PLANE :] += 1.0
    before, after = network(context, mask, GRID), network(other, mask, GRID)
    assert torch.equal(before[:, : 2 * PLANE], after[:, : 2 * PLANE])
    assert not torch.equal(before[:, 2 * PLANE :], after[:, 2 * PLANE :])


def test_predictions_follow_the_scale_of_the_tokens():
    network, mask = predictor(), next_frames_mask(GRID, 1, 2)
    context = torch.randn(2, 3 * PLANE, 5)
    change = network(context, mask, GRID) - context
    scaled = network(10 * context + 3, mask, GRID) - (10 * context + 3)
    torch.testing.assert_close(scaled, 10 * change, atol=1e-4, rtol=1e-4)


def test_what_moves_is_followed():
    """A spot that goes one place on in each frame: the memory learns it, a copy of the last frame never does."""
    torch.manual_seed(0)
    grid = TokenGrid(4, 1, 6)
    network = Predictor(2, 16, depth=0, num_heads=2, memory_width=16)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    mask = next_frames_mask(grid, 2, 6)
    clips = torch.stack([torch.stack([torch.eye(6)[(start + t) % 6] for t in range(4)]) for start in range(6)])
    tokens = torch.stack((clips, 1 - clips), dim=-1).flatten(1, 2)  # (6, 24, 2)
    target = gather_tokens(tokens, mask.target_ids)
    for _ in range(60):
        loss = (network(tokens[:, :-6], mask, grid) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    copied = (tokens[:, 6:-6] - target).square().mean()
    assert loss < 0.2 * copied
