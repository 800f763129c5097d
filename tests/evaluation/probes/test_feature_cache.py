"""Features are encoded once, are those of a direct pass, and are made anew whenever what made them has changed."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.tiny_clips import tiny_clips
from vjepa.data.clips.evaluation_clips import SPLITS
from vjepa.data.clips.labelled_clips import LabelledClips
from vjepa.data.manifest.manifest import read_manifest
from vjepa.evaluation.probes import feature_cache
from vjepa.evaluation.probes.feature_batches import CachedBatches, arranged, streamed_evaluation
from vjepa.evaluation.probes.feature_cache import FeatureCache
from vjepa.evaluation.probes.frozen_features import (
    EncoderFeatures,
    FrameDifferenceFeatures,
    FrozenFeatures,
    PixelFeatures,
)
from vjepa.evaluation.probes.histogram_features import FlowHistogramFeatures, GradientHistogramFeatures
from vjepa.evaluation.probes.temporal_tasks import Speed
from vjepa.models import VideoEncoder


def encoder_features(seed: int = 0, levels=None, name: str = "encoder", **settings) -> EncoderFeatures:
    torch.manual_seed(seed)
    sizes = {"embed_dim": 24, "depth": 2, "num_heads": 2, "tubelet": (2, 8, 8)}
    return EncoderFeatures(name, VideoEncoder(**sizes | settings), levels)


def quiet(words: str) -> None:
    pass


def shards_of(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


@pytest.fixture
def decoded(monkeypatch) -> list[tuple[str, list[int]]]:
    """Which rows of which split were decoded, call by call."""
    calls = []
    plain = LabelledClips.evaluation_batches

    def watched(self, split, rows):
        calls.append((split, rows.tolist()))
        return plain(self, split, rows)

    monkeypatch.setattr(LabelledClips, "evaluation_batches", watched)
    return calls


# --- keys


def test_the_key_tells_weights_and_settings_apart(tiny_world, tmp_path):
    cache = FeatureCache(tmp_path, tiny_clips(tiny_world))
    changed_weight = encoder_features()
    with torch.no_grad():
        changed_weight.encoder.blocks[1].mlp.fc2.bias[3] += 1e-6
    different = [
        encoder_features(),
        encoder_features(seed=1),
        changed_weight,
        encoder_features(levels=[0]),
        encoder_features(levels=[0, 1]),
        encoder_features(position="rotary_tiled"),
        encoder_features(position="sincos"),
        encoder_features(num_heads=4),  # the same weights, used in another way
        encoder_features(position_grid=(2, 4, 4)),
        encoder_features(norm_eps=1e-5),
        PixelFeatures(),
        PixelFeatures(side=16),
        FrameDifferenceFeatures(),
        GradientHistogramFeatures(),
        GradientHistogramFeatures(cell=4),
        FlowHistogramFeatures(),
        FlowHistogramFeatures(num_parts=2),
    ]
    keys = [cache.key_of(features) for features in different]
    assert len(set(keys)) == len(keys)
    # Neither a name nor whether settings came as a list or a tuple changes features.
    assert cache.key_of(encoder_features(name="other", tubelet=[2, 8, 8])) == keys[0]


def test_the_key_tells_clips_apart(tiny_world, tmp_path):
    features = PixelFeatures()
    listing = tmp_path / "train.csv"
    listing.write_text("\n".join((tiny_world / "train.csv").read_text().splitlines()[:-1]) + "\n")
    shorter = {"train_manifest": str(listing), "root": str(tiny_world)}
    different = [{}, {"crop_size": (32, 24)}, {"frame_step": 1}, {"num_frames": 2}, {"segments": 2}, shorter]
    caches = [FeatureCache(tmp_path, tiny_clips(tiny_world, **settings)) for settings in different]
    caches.append(FeatureCache(tmp_path, tiny_clips(tiny_world), lambda clips, rows: clips, "the same"))
    assert len({cache.key_of(features) for cache in caches}) == len(caches)
    again = FeatureCache(tmp_path / "elsewhere", tiny_clips(tiny_world, batch_size=3))
    assert again.key_of(features) == caches[0].key_of(features)


def test_weights_without_dimensions_have_a_fingerprint():
    class WithCounter(PixelFeatures):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm2d(3)  # counts its batches in a tensor of no dimension

    first, second = WithCounter(), WithCounter()
    assert first.fingerprint() == second.fingerprint()
    second.norm.num_batches_tracked += 1
    assert first.fingerprint() != second.fingerprint()


def test_a_file_that_was_replaced_under_its_name_and_size_is_encoded_anew(tiny_world, tmp_path):
    world = shutil.copytree(tiny_world, tmp_path / "world")
    features, folder = PixelFeatures(), tmp_path / "features"

    def tokens() -> torch.Tensor:
        cache = FeatureCache(folder, tiny_clips(world))
        cache.encode([features], quiet)
        return cache.load(features, "train").gather(torch.arange(3))

    before = tokens()
    first, second, *_ = map(Path, read_manifest(world / "train.csv").paths)
    size = max(file.stat().st_size for file in (first, second))
    first.write_bytes(second.read_bytes().ljust(size, b"\0"))
    after = tokens()
    assert torch.equal(after[0], before[1]) and torch.equal(after[1:], before[1:])
    assert FeatureCache(folder, tiny_clips(world)).key_of(features) == FeatureCache(folder, tiny_clips(world)).key_of(
        features
    )


# --- what is kept


@pytest.mark.parametrize("features", [encoder_features(levels=[0, 1]), PixelFeatures(), FrameDifferenceFeatures()])
def test_cached_features_are_those_of_a_direct_pass_in_half_precision(tiny_world, tmp_path, features: FrozenFeatures):
    clips = tiny_clips(tiny_world)
    cache = FeatureCache(tmp_path, clips)
    cache.encode([features], quiet)
    for split in SPLITS:
        loaded = cache.load(features, split)
        direct = torch.cat(
            [features(batch.clips) for batch in clips.evaluation_batches(split, np.arange(len(loaded.rows)))]
        )
        tokens = loaded.gather(torch.arange(len(loaded.rows)))
        assert tokens.shape == (len(direct), 1, *direct.shape[1:]) and tokens.dtype == torch.float32
        torch.testing.assert_close(tokens[:, 0], direct, rtol=1e-3, atol=1e-3)
        assert loaded.labels.tolist() == clips.manifests[split].labels.tolist()
        assert loaded.rows.tolist() == list(range(len(clips.manifests[split])))


def test_an_interrupted_pass_decodes_only_what_is_missing(tiny_world, tmp_path, decoded, monkeypatch):
    monkeypatch.setattr(feature_cache, "ROWS_PER_SHARD", 10)
    clips, features = tiny_clips(tiny_world), encoder_features()
    cache = FeatureCache(tmp_path, clips)
    cache.encode([features], quiet)
    assert [split for split, _ in decoded] == ["train", "train", "train", "val", "test"]
    before = [load_file(file) for file in shards_of(tmp_path)]
    tokens = cache.load(features, "train").gather(torch.arange(26))
    (lost,) = tmp_path.glob("*/train/00001.safetensors")
    lost.unlink()
    decoded.clear()
    FeatureCache(tmp_path, tiny_clips(tiny_world)).encode([encoder_features()], quiet)
    assert decoded == [("train", list(range(10, 20)))]
    after = [load_file(file) for file in shards_of(tmp_path)]
    assert len(after) == 5
    for ours, theirs in zip(before, after, strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in ("tokens", "labels", "rows"))
    places = torch.tensor([25, 3, 19, 10, 3, 9])  # across shards, out of order, one of them twice
    assert torch.equal(cache.load(features, "train").gather(places), tokens[places])
    decoded.clear()
    cache.encode([features], quiet)
    assert decoded == []


def test_each_clip_is_decoded_once_for_all_features_that_need_it(tiny_world, tmp_path, decoded):
    cache = FeatureCache(tmp_path, tiny_clips(tiny_world))
    cache.encode([PixelFeatures()], quiet)
    assert [split for split, _ in decoded] == list(SPLITS)
    times = {file: file.stat().st_mtime_ns for file in shards_of(tmp_path)}
    cache.encode([PixelFeatures(), FrameDifferenceFeatures(), encoder_features()], quiet)
    assert [split for split, _ in decoded] == [*SPLITS, *SPLITS]
    assert all(file.stat().st_mtime_ns == time for file, time in times.items()) and len(shards_of(tmp_path)) == 9


@pytest.mark.parametrize("variants", [None, Speed(4)])
@pytest.mark.parametrize("features", [encoder_features(levels=[0, 1]), PixelFeatures()])
def test_the_size_estimate_is_what_tokens_take_on_the_disk(tiny_world, tmp_path, features, variants):
    clips = tiny_clips(tiny_world, segments=2, train_views=3)
    if variants is not None:
        clips = clips.with_single_clips(variants.decoded_frames)
    cache = FeatureCache(tmp_path, clips, variants, "speed")
    assert cache.cached_bytes(features) == 0
    expected = cache.num_bytes(features)
    cache.encode([features], quiet)
    tokens = [load_file(file)["tokens"] for file in shards_of(tmp_path)]
    assert sum(each.numel() * each.element_size() for each in tokens) == expected
    assert expected < cache.cached_bytes(features) < expected + 3 * 2000
    assert cache.free_bytes() > 0


# --- arrangement


def test_segments_of_a_view_are_one_sequence(tiny_world, tmp_path):
    clips, features = tiny_clips(tiny_world, segments=3, views=2, crop_size=(32, 16)), encoder_features()
    cache = FeatureCache(tmp_path, clips)
    cache.encode([features], quiet)
    (batch,) = CachedBatches(features, cache.load(features, "test"), num_segments=3)
    (pixels,) = (part.clips for part in clips.evaluation_batches("test", np.array([4])))
    assert len(pixels) == 6  # segment by segment, its views together
    direct = features(pixels)
    assert batch.tokens.shape == (6, 2, 3 * direct.shape[1], 24) and batch.pooled.shape == (6, 2, 24)
    for view in range(2):
        of_view = [direct[segment * 2 + view] for segment in range(3)]
        torch.testing.assert_close(batch.tokens[4, view], torch.cat(of_view), rtol=1e-3, atol=1e-3)
        means = torch.stack([tokens.mean(0) for tokens in of_view])
        torch.testing.assert_close(batch.pooled[4, view], means.mean(0), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(batch.tokens[4, 0], batch.tokens[4, 1])


def test_streamed_and_cached_batches_agree(tiny_world, tmp_path):
    clips, features = tiny_clips(tiny_world, segments=2, views=2, crop_size=(32, 24)), encoder_features()
    cache = FeatureCache(tmp_path, clips)
    cache.encode([features], quiet)
    rows = np.array([0, 2, 5])
    cached = CachedBatches(features, cache.load(features, "val"), 2, rows, batch_size=2)
    streamed = streamed_evaluation(features, clips, "val", torch.device("cpu"), rows)
    for part in range(3):
        ours, theirs = (torch.cat([batch[part] for batch in batches]) for batches in (cached, streamed))
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_pooled_pixels_of_segments_are_means_of_whole_clips():
    features = PixelFeatures(side=2)
    tokens = torch.rand(5, 6, 4, 12)  # 3 segments of 2 views
    batch = arranged(features.pool, tokens, torch.zeros(5, dtype=torch.int64), 3)
    torch.testing.assert_close(batch.pooled[:, 1], tokens[:, 1::2].flatten(2).mean(1))


def test_endless_batches_show_each_file_once_a_pass(tiny_world, tmp_path):
    features = PixelFeatures()
    cache = FeatureCache(tmp_path, tiny_clips(tiny_world))
    cache.encode([features], quiet)
    split, rows = cache.load(features, "train"), np.arange(0, 26, 2)

    def seen(seed: int) -> list[list[float]]:
        batches = CachedBatches(features, split, 1, rows, batch_size=5, num_batches=6, seed=seed)
        assert len(batches) == 6
        return [[float(tokens.sum()) for tokens in batch.tokens] for batch in batches]

    first, second = ([value for batch in part for value in batch] for part in (seen(0)[:3], seen(0)[3:]))
    assert [len(batch) for batch in seen(0)] == [5, 5, 3, 5, 5, 3]
    wanted = sorted(float(tokens.float().sum()) for tokens in split.tokens[0][rows])
    assert sorted(first) == sorted(second) == pytest.approx(wanted)
    assert first != second and seen(0) == seen(0) != seen(1)


def test_variants_of_a_clip_are_samples_with_their_number_as_class(tiny_world, tmp_path):
    task = Speed(4)
    clips, features = tiny_clips(tiny_world).with_single_clips(task.decoded_frames), PixelFeatures()
    cache = FeatureCache(tmp_path, clips, task, "speed")
    cache.encode([features], quiet)
    split = cache.load(features, "val")
    (batch,) = CachedBatches(features, split, clips_are_classes=True)
    assert batch.labels.tolist() == [0, 1, 2] * 6 and batch.tokens.shape[:2] == (18, 1)
    (pixels,) = (part.clips for part in clips.evaluation_batches("val", np.arange(6)))
    step_two = features(pixels[:, :, 3:10:2])
    torch.testing.assert_close(batch.tokens[1::3, 0], step_two, rtol=1e-3, atol=1e-3)


# --- files that can't be read


def test_unreadable_files_are_left_out_and_reported_from_an_old_cache_too(tiny_world, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_cache, "ROWS_PER_SHARD", 8)
    manifest = read_manifest(tiny_world / "train.csv")
    bad = {0, *range(8, 16), 25}  # the whole second shard
    lines = ["path,label"]
    for row, path in enumerate(manifest.paths):
        broken = tmp_path / f"broken{row}.mp4"
        broken.write_text("no video")
        lines.append(f"{broken if row in bad else path},{manifest.label_name(row)}")
    listing = tmp_path / "list.csv"
    listing.write_text("\n".join(lines) + "\n")
    features, good = PixelFeatures(), [row for row in range(26) if row not in bad]
    for _ in range(2):
        clips = tiny_clips(tiny_world, train_manifest=str(listing))
        cache = FeatureCache(tmp_path / "features", clips)
        cache.encode([features], quiet)
        split = cache.load(features, "train")
        assert split.rows.tolist() == good and split.labels.tolist() == clips.manifests["train"].labels[good].tolist()
        assert {Path(path).name for path in clips.unreadable} == {f"broken{row}.mp4" for row in bad}
    batches = CachedBatches(features, split, rows=np.array([0, 7, 8, 16]))
    assert sum(len(batch.labels) for batch in batches) == 2
    with pytest.raises(ValueError, match="none of the labelled clips could be read"):
        CachedBatches(features, split, rows=np.array([0, 8]), num_batches=3)


def test_a_split_of_which_nothing_can_be_read_is_named(tiny_world, tmp_path):
    for k in range(3):
        (tmp_path / f"{k}.mp4").write_text("no video")
    listing = tmp_path / "list.csv"
    label = read_manifest(tiny_world / "train.csv").label_name(0)
    listing.write_text("path,label\n" + "".join(f"{k}.mp4,{label}\n" for k in range(3)))
    cache = FeatureCache(tmp_path / "features", tiny_clips(tiny_world, test_manifest=str(listing)))
    with pytest.raises(ValueError, match=r"none of the 3 files of .*list.csv that were tried can be read: .*0\.mp4"):
        cache.encode([PixelFeatures()], quiet)


def test_causal_attention_has_another_fingerprint_than_full_attention():
    full, same, causal = (encoder_features(attention=kind).fingerprint() for kind in ("full", "full", "causal"))
    assert full == same != causal
