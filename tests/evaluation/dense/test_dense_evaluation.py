"""Which frames count, what moves, and that all rows of features are scored alike."""

import numpy as np
import pytest
import torch

from vjepa.data.segmentation.mask_files import VOID
from vjepa.data.segmentation.segmented_videos import SegmentedVideo, SegmentedVideos
from vjepa.evaluation.dense.dense_evaluation import COPY, DenseEvaluation, DenseSettings, _average_precision
from vjepa.evaluation.dense.frame_maps import MapSource
from vjepa.evaluation.dense.scored_frames import chosen_frames, given_masks, motion_boundaries, object_scores
from vjepa.evaluation.dense.segmentation_head import HeadTraining


def moving_box(num_frames: int = 6, size: int = 16, number: int = 1) -> np.ndarray:
    masks = np.zeros((num_frames, size, size), np.int32)
    for frame in range(num_frames):
        masks[frame, 4:8, 2 + frame : 6 + frame] = number
    return masks


def test_first_and_last_frame_are_not_scored():
    true, predicted = moving_box(), moving_box()
    predicted[0] = predicted[-1] = 0
    assert object_scores(predicted, true) == [(1.0, 1.0)]
    predicted[1] = 0
    ((j, f),) = object_scores(predicted, true)
    assert j == f == pytest.approx(3 / 4)


def test_each_object_counts_once_from_where_it_appears():
    true = moving_box()
    true[3:, 12:15, 12:15] = 2
    predicted = np.where(true == 2, 0, true)
    assert object_scores(predicted, true) == [(1.0, 1.0), (0.0, 0.0)]  # object 2 is scored on frame 4 alone
    assert object_scores(predicted[:4], true[:4]) == [(1.0, 1.0)]  # there it has no frame to be scored on
    given = given_masks(SegmentedVideo("a", torch.zeros(6, 3, 8, 8, dtype=torch.uint8), true))
    assert [frame for frame in range(6) if (given[frame] != VOID).any()] == [0, 3]


def test_unlabelled_frames_are_not_scored():
    true = moving_box()
    true[[1, 3]] = VOID
    predicted = moving_box()
    predicted[[1, 3]] = 0
    assert object_scores(predicted, true) == [(1.0, 1.0)]


def test_frames_are_evenly_chosen_among_the_labelled_ones():
    assert chosen_frames(np.ones(12, bool), 4).tolist() == [1, 4, 7, 10]
    labelled = np.zeros(12, bool)
    labelled[[0, 5, 6]] = True
    assert chosen_frames(labelled, 4).tolist() == [0, 5, 6]


def test_a_motion_boundary_is_the_outline_of_what_moves():
    masks = moving_box()
    masks[:, 12:15, 2:5] = 2  # stands still
    found = motion_boundaries(masks, np.array([0, 2]))
    assert (found[0] == VOID).all()
    assert (found[1][3, 3:8] == 1).all(), "the upper edge of the box"
    assert found[1][5, 5] == 0, "not its inside"
    assert not found[1][10:].any(), "not what stands still"
    masks[1] = VOID
    assert (motion_boundaries(masks, np.array([2]))[0] == VOID).all()


def test_average_precision_of_a_boundary_is_torchmetrics_over_labelled_pixels():
    scores = torch.tensor([[[3.0, 2.0], [1.0, 9.0]]])
    boundary = torch.tensor([[[1, 0], [1, VOID]]])
    assert _average_precision(scores, boundary).tolist() == [pytest.approx((1 + 2 / 3) / 2), 1.0]
    assert _average_precision(scores, torch.zeros_like(boundary)).tolist() == [0.0, 0.0], "nothing moves"


@pytest.fixture
def videos(tiny_world) -> SegmentedVideos:
    return SegmentedVideos(
        train_manifest=str(tiny_world / "train.csv"),
        test_manifest=str(tiny_world / "test.csv"),
        size=(32, 32),
        max_train=5,
        max_test=3,
    )


def test_features_that_are_the_masks_win_every_task(videos: SegmentedVideos):
    truth = {}
    for entry in [*videos.train, *videos.test]:
        video = videos.read(entry)
        truth[video.frames.sum().item()] = video.masks

    def perfect(frames: torch.Tensor) -> torch.Tensor:  # one-hot numbers of objects at every second pixel
        masks = torch.from_numpy(truth[frames.sum().item()])[:, ::2, ::2]
        return torch.nn.functional.one_hot(masks.long(), 6).float()

    def noise(frames: torch.Tensor) -> torch.Tensor:
        return torch.randn(len(frames), 16, 16, 6, generator=torch.Generator().manual_seed(0))

    settings = DenseSettings(
        ("foreground", "heads", "propagation"),
        labelled_frames=(8,),
        heads=HeadTraining(kinds=("linear",), num_steps=60, learning_rate=0.05),
        num_clusters=2,
    )
    said: list[str] = []
    evaluation = DenseEvaluation(
        videos, [MapSource("perfect", perfect), MapSource("noise", noise)], settings, 1, report=said.append
    )
    found = {(r.method.name, r.metric, r.features): r.score.value for r in evaluation.run()}
    for key in (("linear", "mIoU"), ("linear", "object IoU"), ("nearest tokens", "J"), ("nearest tokens", "F")):
        assert found[(*key, "perfect")] > 0.7 > found[(*key, "noise")], key
    assert found["PCA", "IoU", "perfect"] > 0.5 > found["PCA", "IoU", "noise"]
    j, f, both = (found["nearest tokens", metric, COPY] for metric in ("J", "F", "J&F"))
    assert 0 < j < 1 and both == pytest.approx((j + f) / 2)
    (pictured,) = evaluation.pictured
    assert list(pictured.masks) == ["without labels", "linear head", "propagated", "truth"]
    assert {mask.shape for mask in pictured.masks.values()} == {(12, 32, 32)}
    assert said[-1] == "scored 3 of 3 test videos"


def test_slips_are_named(videos: SegmentedVideos, tiny_world):
    row = MapSource("a", lambda frames: torch.zeros(1))
    with pytest.raises(ValueError, match="two rows of features have one name"):
        DenseEvaluation(videos, [row, row], DenseSettings())
    untrained = SegmentedVideos(test_manifest=str(tiny_world / "test.csv"), size=(32, 32))
    with pytest.raises(ValueError, match="heads need training videos: give a train_manifest or a train_split"):
        DenseEvaluation(untrained, [row], DenseSettings())
    for settings, sentence in (
        ({"tasks": ()}, "tasks \\(none\\)"),
        ({"labelled_frames": (0,)}, "labelled_frames \\(\\[0\\]\\)"),
        ({"num_clusters": 1}, "num_clusters \\(1\\)"),
    ):
        with pytest.raises(ValueError, match=sentence):
            DenseSettings(**settings)
