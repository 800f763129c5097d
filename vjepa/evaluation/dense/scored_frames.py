"""Which frames of a video are learned from, given and scored; and outlines of what moves."""

import numpy as np
from jaxtyping import Bool, Int32, Int64

from vjepa.data.segmentation.mask_files import VOID, Masks
from vjepa.data.segmentation.segmented_videos import SegmentedVideo
from vjepa.evaluation.dense.mask_scores import boundary_measure, boundary_of, dilated, disk_of, region_similarity


def chosen_frames(labelled: Bool[np.ndarray, " T"], count: int) -> Int64[np.ndarray, " n"]:
    """At most so many labelled frames, evenly spaced: the middles of equal parts."""
    numbers = np.flatnonzero(labelled)
    count = min(count, len(numbers))
    return numbers[((np.arange(count) + 0.5) * len(numbers) / count).astype(np.int64)]


def motion_boundaries(masks: Masks, frames: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, "n H W"]:
    """1 within a pixel of the outline of objects that are not where they were in the frame before, 0 elsewhere.

    VOID in frames that have no frame before them, or where one of the two has no mask.
    """
    found = np.full((len(frames), *masks.shape[1:]), VOID, np.int64)
    for boundaries, frame in zip(found, frames.tolist(), strict=True):
        now, before = masks[frame], masks[frame - 1]
        if frame == 0 or (now == VOID).all() or (before == VOID).all():
            continue
        moved = [n for n in np.unique(now).tolist() if n > 0 and ((now == n) != (before == n)).any()]
        boundaries[:] = 0
        for number in moved:
            boundaries[dilated(boundary_of(now == number), disk_of(1))] = 1
    return found


def given_masks(video: SegmentedVideo) -> Masks:
    """The mask of each frame that first shows an object, VOID in all others."""
    given = np.full_like(video.masks, VOID)
    known: set[int] = set()
    for frame in np.flatnonzero(video.labelled).tolist():
        new = {number for number in np.unique(video.masks[frame]).tolist() if number > 0} - known
        if new or not known:
            given[frame] = video.masks[frame]
        known |= new
    return given


def object_scores(
    predicted: Int32[np.ndarray, "T H W"],
    true: Masks,  # (T, H, W)
) -> list[tuple[float, float]]:  # J and F of each object
    """Means over labelled frames after the first one that shows an object, without the video's last frame (DAVIS)."""
    scores = []
    shows = (true != VOID).any(axis=(1, 2))
    for number in np.unique(true[true > 0]).tolist():
        first = int((true == number).any(axis=(1, 2)).argmax())
        frames = [frame for frame in range(first + 1, len(true) - 1) if shows[frame]]
        pairs = [(predicted[frame] == number, true[frame] == number) for frame in frames]
        if pairs:
            j, f = ([measure(*pair) for pair in pairs] for measure in (region_similarity, boundary_measure))
            scores.append((float(np.mean(j)), float(np.mean(f))))
    return scores
