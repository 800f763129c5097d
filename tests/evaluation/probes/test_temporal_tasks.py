"""Temporal tasks: which frames their variants have, and that nothing but the frames' order tells them apart."""

import math

import pytest
import torch

from vjepa.evaluation.probes.temporal_tasks import ArrowOfTime, FrameOrder, Speed, temporal_task


def numbered_clips(num_clips: int, num_frames: int) -> torch.Tensor:
    """Clips (B, 3, T, 2, 2) uint8 whose pixels are the number of their frame, plus 100 from clip to clip."""
    frames = torch.arange(num_frames, dtype=torch.uint8).view(1, 1, -1, 1, 1)
    return (frames + 100 * torch.arange(num_clips, dtype=torch.uint8).view(-1, 1, 1, 1, 1)).expand(-1, 3, -1, 2, 2)


def frames_of(variants: torch.Tensor) -> list[list[int]]:
    return variants[:, 0, :, 0, 0].tolist()


def test_time_runs_forward_and_backward():
    variants = ArrowOfTime(4)(numbered_clips(2, 4), torch.arange(2))
    assert frames_of(variants) == [[0, 1, 2, 3], [3, 2, 1, 0], [100, 101, 102, 103], [103, 102, 101, 100]]


@pytest.mark.parametrize(("num_frames", "lengths"), [(16, [4] * 4), (8, [2] * 4), (6, [2] * 3), (4, [2] * 2)])
def test_parts_change_places_and_stay_whole(num_frames, lengths):
    task = FrameOrder(num_frames, seed=0)
    assert [len(part) for part in task.parts] == lengths
    length, orders = lengths[0], set()
    for row in range(60):
        in_order, shuffled = frames_of(task(numbered_clips(1, num_frames), torch.tensor([row])))
        assert in_order == list(range(num_frames)) and sorted(shuffled) == in_order != shuffled
        parts = [shuffled[first : first + length] for first in range(0, num_frames, length)]
        assert all(part == list(range(part[0], part[0] + length)) for part in parts)
        orders.add(tuple(part[0] // length for part in parts))
    possible = math.factorial(len(lengths)) - 1
    assert min(possible, 16) <= len(orders) <= possible


def test_an_order_is_a_function_of_seed_and_row():
    def orders(seed: int, rows: list[int]) -> list[list[int]]:
        return [FrameOrder(8, seed).frame_ids(row).tolist() for row in rows]

    first = orders(0, list(range(20)))
    assert orders(0, [7])[0] == first[7] and orders(0, list(range(20))[::-1]) == first[::-1]
    assert orders(1, list(range(20))) != first


def test_speeds_have_as_many_frames_around_one_middle():
    task = Speed(4)
    assert task.decoded_frames == 13
    variants = task(numbered_clips(2, 13), torch.arange(2))
    assert frames_of(variants)[:3] == [[4, 5, 6, 7], [3, 5, 7, 9], [0, 4, 8, 12]]
    assert frames_of(variants)[3:] == [[100 + frame for frame in frames] for frames in frames_of(variants)[:3]]


@pytest.mark.parametrize("name", ["arrow", "order", "speed"])
def test_variants_are_clips_of_the_asked_length_one_for_each_class(name):
    task = temporal_task(name, num_frames=6, seed=0)
    variants = task(numbered_clips(3, task.decoded_frames), torch.arange(3))
    assert variants.shape == (3 * len(task.class_names), 3, 6, 2, 2) and variants.dtype == torch.uint8


def test_a_clip_too_short_to_be_put_out_of_order_is_refused():
    with pytest.raises(ValueError, match=r"num_frames \(3\) must be at least 4 for the frame order task"):
        temporal_task("order", num_frames=3, seed=0)
