"""Stronger changes treat all frames of a clip alike and draw only from the generator that they are handed."""

import random

import numpy as np
import pytest

from vjepa.data.clips.augmentation import ColorJitter, RandAugment, erase_box, jitter_colors

POLICY = "rand-m7-n4-mstd0.5-inc1"


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def rand_augment() -> RandAugment:
    return RandAugment(POLICY)


def test_rand_augment_changes_all_frames_alike(rand_augment):
    frames = np.repeat(noise(1, 16, 24, 3), 4, axis=0)
    changed = [rand_augment(frames, np.random.default_rng(seed)) for seed in range(30)]
    assert all(clip.shape == frames.shape and clip.dtype == np.uint8 for clip in changed)
    assert all((clip == clip[:1]).all() for clip in changed)
    assert sum((clip != frames).any() for clip in changed) > 15


def test_rand_augment_follows_from_the_generator(rand_augment):
    frames = noise(3, 16, 24, 3)
    before = frames.copy()
    clips = [rand_augment(frames, np.random.default_rng(seed)) for seed in (5, 5, *range(6, 16))]
    assert (clips[0] == clips[1]).all() and (frames == before).all()
    assert any((clips[0] != clip).any() for clip in clips[2:])
    random.seed(7)
    np.random.seed(7)
    assert (rand_augment(frames, np.random.default_rng(5)) == clips[0]).all()  # whatever the global generators hold


def test_rand_augment_leaves_the_global_generators_as_they_were(rand_augment):
    random.seed(3)
    np.random.seed(3)
    expected = [random.random() for _ in range(5)], np.random.random(5).tolist()
    random.seed(3)
    np.random.seed(3)
    rand_augment(noise(3, 16, 16, 3), np.random.default_rng(0))
    assert ([random.random() for _ in range(5)], np.random.random(5).tolist()) == expected


@pytest.mark.parametrize("policy", ["augmix-m5-w4", "v0", ""])
def test_another_policy_is_refused(policy):
    with pytest.raises(ValueError, match=rf"rand_augment \({policy}\) must be a policy such as '{POLICY}'"):
        RandAugment(policy)


def test_a_slip_inside_a_policy_is_refused_too():
    with pytest.raises(ValueError, match="rand_augment"):
        RandAugment("rand-q7-n4")


def test_erasing_is_at_the_same_place_of_all_frames_with_the_same_noise():
    frames = noise(4, 32, 40, 3)
    before = frames.copy()
    for seed in range(30):
        erased = erase_box(frames, np.random.default_rng(seed))
        assert erased.shape == frames.shape and erased.dtype == np.uint8
        changed = (erased != frames).any(axis=(0, 3))
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        box = np.s_[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert (erased[box] == erased[box][:1]).all()  # in all frames
        assert changed[box[1:]].mean() > 0.95  # a whole box (noise may hit a pixel's old value)
        share = changed[box[1:]].size / changed.size
        assert 0.01 < share < 0.4
    assert (frames == before).all()


def test_erasing_follows_from_the_generator():
    frames = noise(2, 32, 32, 3)
    first, second, other = (erase_box(frames, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first == second).all() and (first != other).any()


def test_a_box_that_never_fits_erases_nothing():
    frames = noise(2, 32, 32, 3)
    assert (erase_box(frames, np.random.default_rng(0), area=(1.0, 1.0), aspect_ratio=(1.0, 1.0)) == frames).all()


def test_changed_colours_keep_what_moves_and_follow_from_the_generator():
    frames = np.random.default_rng(0).integers(100, 156, (4, 8, 8, 3), dtype=np.uint8)
    for seed in range(8):
        changed = jitter_colors(frames, np.random.default_rng(seed))
        assert np.array_equal(changed, jitter_colors(frames, np.random.default_rng(seed)))
        # One linear map of colours for all pixels of all frames: what is the same stays the same.
        still = np.repeat(frames[:1], 4, axis=0)
        assert (jitter_colors(still, np.random.default_rng(seed)) == changed[0]).all()


def test_half_of_the_clips_become_negatives():
    frames = np.random.default_rng(0).integers(100, 156, (2, 8, 8, 3), dtype=np.uint8)
    grey = frames.mean(-1).ravel()
    alike = [
        np.corrcoef(jitter_colors(frames, np.random.default_rng(k)).mean(-1).ravel(), grey)[0, 1] for k in range(40)
    ]
    assert all(abs(value) > 0.9 for value in alike) and 8 < sum(value < 0 for value in alike) < 32


# --- colour jitter of views


def jitter(**settings) -> ColorJitter:
    nothing = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "grayscale_probability": 0.0}
    return ColorJitter(**({"probability": 1.0} | nothing | settings))


def test_color_jitter_changes_all_frames_alike_and_follows_from_the_generator():
    frames = np.repeat(noise(1, 16, 24, 3), 3, axis=0)
    before, change = frames.copy(), ColorJitter(probability=1.0)
    clips = [change(frames, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert all((clip == clip[:1]).all() and clip.dtype == np.uint8 for clip in clips) and (frames == before).all()
    assert (clips[0] == clips[1]).all() and (clips[0] != clips[2]).any()


def test_each_part_of_color_jitter_does_what_it_says():
    frames, generator = noise(2, 16, 16, 3) // 2 + 64, np.random.default_rng(0)
    grey = np.repeat(frames[..., :1], 3, axis=-1)
    luma = [0.299, 0.587, 0.114]
    assert (jitter()(frames, generator) == frames).all()
    brighter = jitter(brightness=0.4)(frames, generator) / frames
    assert abs(brighter - brighter.mean()).max() < 0.02 and 0.6 <= brighter.mean() <= 1.4
    steeper = jitter(contrast=0.4)(frames, generator)
    assert steeper.std() != frames.std() and np.mean(steeper @ luma) == pytest.approx(np.mean(frames @ luma), abs=0.5)
    for part in ({"saturation": 0.4}, {"hue": 0.1}):
        changed = jitter(**part)(frames, generator)
        assert (changed != frames).any() and (jitter(**part)(grey, generator) == grey).all()
        assert abs(changed @ luma - frames @ luma).mean() < 1
    colorless = jitter(probability=0.0, grayscale_probability=1.0)(frames, generator)
    assert abs(colorless - (frames @ luma)[..., None]).max() < 1


def test_color_jitter_changes_about_the_asked_fraction_of_clips():
    frames, rng = noise(1, 8, 8, 3), np.random.default_rng(3)
    changed = sum((jitter(probability=0.8, hue=0.1)(frames, rng) != frames).any() for _ in range(300))
    assert 0.7 < changed / 300 < 0.9


def test_color_jitter_of_no_use_is_refused():
    with pytest.raises(ValueError, match=r"hue \(0.6\) must be between 0 and 0.5"):
        ColorJitter(hue=0.6)
