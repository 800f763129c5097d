"""Clips are functions of seed and position, whatever was known of their files before; a batch holds one shape."""

import logging
import os
import pickle
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image

from tests.needs_decord import needs_decord
from vjepa.data.clips.augmentation import RandAugment
from vjepa.data.clips.batch import MaskingCollate, normalize_clips
from vjepa.data.clips.cuts import EvaluationCuts, TrainingCuts
from vjepa.data.clips.data_module import ClipDataModule, Source
from vjepa.data.clips.dataset import ClipDataset, ClipSource
from vjepa.data.clips.frame_sampling import FrameSampling
from vjepa.data.loading import decoding_loader
from vjepa.data.manifest.manifest import fact_columns, read_manifest
from vjepa.data.manifest.writing import write_manifest
from vjepa.data.order import MixtureOrder, RowOrder, SampleKey
from vjepa.data.video.encoding import encode_video
from vjepa.data.video.facts import VideoError, scan_video
from vjepa.data.video.reader import ReaderChain
from vjepa.data.video.transforms import channels_first, crop_resize, view_boxes
from vjepa.masking import MultiBlockTubes

FRAMES = FrameSampling(4, frame_step=2)
CROP = (16, 24)


def training_cuts(**settings) -> TrainingCuts:
    return TrainingCuts(CROP, **{"crop_scale": (0.5, 1.0), "crop_aspect_ratio": (1.0, 2.0)} | settings)


def dataset(*manifests, cuts=None, seed=0, frames=FRAMES, readers=None, shuffle=True) -> ClipDataset:
    sources = [ClipSource(f"source{k}", read_manifest(manifest), frames) for k, manifest in enumerate(manifests)]
    orders = [RowOrder(len(source.manifest), seed, shuffle, k) for k, source in enumerate(sources)]
    return ClipDataset(sources, MixtureOrder(orders), cuts or training_cuts(), readers or ReaderChain())


def key(position: int) -> SampleKey:
    return SampleKey(position, position)


def list_of(folder: Path, paths, header: str = "path", name: str = "list.csv") -> Path:
    file = folder / name
    file.write_text("\n".join([header, *map(str, paths)]) + "\n")
    return file


def videos(tiny_world: Path) -> list[str]:
    return list(read_manifest(tiny_world / "train.csv").paths)


def assert_same_clips(first, second):
    for ours, theirs in zip(first, second, strict=True):
        assert torch.equal(ours.pixels, theirs.pixels)
        assert ours[1:4] == theirs[1:4] and ours.number == theirs.number and ours.seconds == theirs.seconds


# --- clips by position


def test_a_clip_is_a_function_of_seed_and_position(tiny_world):
    (first,), (second,) = (dataset(tiny_world / "train.csv")[key(40)] for _ in range(2))
    assert_same_clips([first], [second])
    assert first.pixels.shape == (3, 4, 16, 24) and first.pixels.dtype == torch.uint8
    assert first.pixels.is_contiguous() and first.key == key(40) and first.failures == []
    one = dataset(tiny_world / "train.csv")
    assert not torch.equal(first.pixels, dataset(tiny_world / "train.csv", seed=1)[key(40)][0].pixels)
    assert not torch.equal(first.pixels, one[key(40 + 26)][0].pixels)
    one[key(3)]  # what was asked for before does not matter
    assert_same_clips([first], one[key(40)])


def test_row_label_and_seconds_are_those_of_the_file(tiny_world):
    manifest = read_manifest(tiny_world / "train.csv")
    order = RowOrder(26, 0)
    for position in range(30):
        (clip,) = dataset(tiny_world / "train.csv")[key(position)]
        assert clip.row == order.row(position) and clip.label == manifest.labels[clip.row] and clip.source == 0
        assert clip.seconds == pytest.approx(4 * 2 / 16)


def test_a_pickled_dataset_gives_the_same_clips(tiny_world):
    one = dataset(tiny_world / "train.csv", tiny_world / "val.csv")
    one[key(0)]  # a cache is filled, and stays behind
    copy = pickle.loads(pickle.dumps(one))
    for position in range(4):
        assert_same_clips(copy[key(position)], one[key(position)])


def test_strong_augmentation_follows_from_seed_and_position_too(tiny_world):
    plain = dataset(tiny_world / "train.csv")
    cuts = training_cuts(rand_augment=RandAugment("rand-m7-n4-mstd0.5-inc1"), erase_probability=0.5)
    strong = [dataset(tiny_world / "train.csv", cuts=cuts) for _ in range(2)]
    changed = 0
    for position in range(8):
        assert_same_clips(strong[0][key(position)], strong[1][key(position)])
        changed += not torch.equal(strong[0][key(position)][0].pixels, plain[key(position)][0].pixels)
    assert changed >= 6


def test_about_the_asked_share_of_clips_is_mirrored(tiny_world):
    def clips(flip_probability):
        one = dataset(tiny_world / "train.csv", cuts=training_cuts(flip_probability=flip_probability))
        return [one[key(position)][0].pixels for position in range(40)]

    never, always, half = clips(0.0), clips(1.0), clips(0.5)
    assert all(torch.equal(a, b.flip(-1)) for a, b in zip(never, always, strict=True))
    mirrored = sum(torch.equal(a, b) for a, b in zip(half, always, strict=True))
    assert 10 < mirrored < 30
    assert all(torch.equal(a, b) or torch.equal(a, c) for a, b, c in zip(half, always, never, strict=True))


def test_clips_of_a_file_come_from_stretches_of_their_own_and_follow_from_the_position(tiny_world):
    # With one frame each, a clip's stretch is seen in the frame that it shows.
    cuts = training_cuts(clips_per_video=3, crop_scale=(1.0, 1.0), crop_aspect_ratio=(1.0, 1.0), flip_probability=0.0)
    one = dataset(tiny_world / "train.csv", cuts=cuts, frames=FrameSampling(1, frame_step=1))
    whole = ReaderChain()
    for position in range(6):
        clips = one[key(position)]
        assert [clip.number for clip in clips] == [0, 1, 2] and {clip.row for clip in clips} == {clips[0].row}
        path = one.sources[0].manifest.paths[clips[0].row]
        frames = crop_resize(whole.decode(path, whole.scan(path), range(12)), None, CROP)
        for stretch, clip in enumerate(clips):
            found = [t for t in range(12) if (clip.pixels.numpy() == channels_first(frames[t : t + 1])).all()]
            assert found and stretch * 4 <= found[0] < stretch * 4 + 4
        again = dataset(tiny_world / "train.csv", cuts=cuts, frames=FrameSampling(1, frame_step=1))[key(position)]
        assert_same_clips(clips, again)


# --- evaluation


@needs_decord
def test_a_clip_of_evaluation_is_the_middle_of_the_file(tiny_world):
    (clip,) = dataset(tiny_world / "train.csv", cuts=EvaluationCuts(CROP))[key(0)]
    path = videos(tiny_world)[clip.row]
    readers = ReaderChain()
    frames = readers.decode(path, readers.scan(path), [3, 5, 7, 9])
    (box,) = view_boxes((32, 32), 1.5, 1)
    assert (clip.pixels.numpy() == channels_first(crop_resize(frames, box, CROP))).all()


def test_evaluation_clips_do_not_depend_on_seed_or_position(tiny_world):
    def of_row(seed, position):
        return dataset(tiny_world / "train.csv", cuts=EvaluationCuts(CROP), seed=seed, shuffle=False)[key(position)]

    assert_same_clips(of_row(0, 2), of_row(1, 2))
    assert_same_clips(of_row(0, 2), of_row(0, 28))


def test_evaluation_gives_every_view_of_every_segment(tiny_world):
    cuts = EvaluationCuts(CROP, num_segments=2, num_views=3)
    assert cuts.clips_per_video == 6
    one = dataset(tiny_world / "train.csv", cuts=cuts, shuffle=False)
    clips = one[key(0)]
    path = videos(tiny_world)[0]
    readers = ReaderChain()
    frames = readers.decode(path, readers.scan(path), range(12))
    # 12 frames have 6 starts of a clip of 7: the segments' middles are a quarter and three quarters of them.
    expected = [
        channels_first(crop_resize(frames[begin : begin + 7 : 2, top : top + 21], None, CROP))
        for begin in (1, 4)
        for top in (0, 5, 11)
    ]
    assert [clip.number for clip in clips] == list(range(6))
    for clip, pixels in zip(clips, expected, strict=True):
        assert (clip.pixels.numpy() == pixels).all()


# --- windows and facts


@needs_decord
def test_a_clip_keeps_to_its_row_s_window(tiny_world, tmp_path):
    path = videos(tiny_world)[0]
    file = list_of(tmp_path, [f"{path},0.25,0.5"], "path,start,end")  # at 16 fps: frames 4 to 7
    readers = ReaderChain()
    frames = crop_resize(readers.decode(path, readers.scan(path), range(12)), None, CROP)
    cuts = training_cuts(crop_scale=(1.0, 1.0), crop_aspect_ratio=(1.0, 1.0), flip_probability=0.0)
    one = dataset(file, cuts=cuts, frames=FrameSampling(1, frame_step=1))
    shown = [
        next(t for t in range(12) if (clip.pixels.numpy() == channels_first(frames[t : t + 1])).all())
        for (clip,) in (one[key(position)] for position in range(40))
    ]
    assert set(shown) == {4, 5, 6, 7}
    (clip,) = dataset(file, cuts=EvaluationCuts((32, 32)), frames=FrameSampling(4, frame_step=1))[key(0)]
    whole = readers.decode(path, readers.scan(path), range(4, 8))
    assert (clip.pixels.numpy() == channels_first(whole)).all()


def test_a_clip_covers_no_more_seconds_than_its_window(tiny_world, tmp_path):
    file = list_of(tmp_path, [f"{videos(tiny_world)[0]},0.25,0.5"], "path,start,end")
    assert dataset(file)[key(0)][0].seconds == pytest.approx(0.25)


def with_facts(folder: Path, paths: list[str], **changed) -> Path:
    facts = [fact_columns(replace(scan_video(path), **changed)) for path in paths]
    rows = [",".join([path, *each.values()]) for path, each in zip(paths, facts, strict=True)]
    return list_of(folder, rows, ",".join(["path", *facts[0]]), "facts.csv")


def count_scans(readers: ReaderChain, monkeypatch) -> list:
    scanned, scan = [], readers.scan
    monkeypatch.setattr(readers, "scan", lambda source: scanned.append(source) or scan(source))
    return scanned


@pytest.mark.parametrize("cuts", [training_cuts(clips_per_video=2), EvaluationCuts(CROP, 2, 3)])
def test_facts_from_a_manifest_give_the_same_clips_without_a_scan(tiny_world, tmp_path, monkeypatch, cuts):
    paths = videos(tiny_world)[:5]
    plain, known = list_of(tmp_path, paths), with_facts(tmp_path, paths)
    readers = ReaderChain()
    scanned = count_scans(readers, monkeypatch)
    for position in range(8):
        expected = dataset(plain, cuts=cuts)[key(position)]
        assert_same_clips(dataset(known, cuts=cuts, readers=readers)[key(position)], expected)
    assert scanned == []


def test_a_worker_scans_a_file_once(tiny_world, tmp_path, monkeypatch):
    readers = ReaderChain()
    scanned = count_scans(readers, monkeypatch)
    one = dataset(list_of(tmp_path, videos(tiny_world)[:3]), readers=readers)
    for position in range(12):
        one[key(position)]
    assert sorted(scanned) == sorted(videos(tiny_world)[:3])


def test_a_file_that_has_become_shorter_is_looked_at_again(tiny_world, tmp_path, monkeypatch):
    paths = videos(tiny_world)[:3]
    plain, stale = list_of(tmp_path, paths), with_facts(tmp_path, paths, num_frames=4000)
    readers = ReaderChain()
    scanned = count_scans(readers, monkeypatch)
    for position in range(3):
        (expected,) = dataset(plain, cuts=EvaluationCuts(CROP))[key(position)]
        (clip,) = dataset(stale, cuts=EvaluationCuts(CROP), readers=readers)[key(position)]
        assert_same_clips([clip], [expected])
        assert clip.failures == []
    assert sorted(scanned) == sorted(paths)


def film(file: Path, fps: float) -> None:
    """Frames that tell their number by their grey, and a name and size that do not tell the rate."""
    encode_video(file, np.stack([np.full((32, 32, 3), 8 * k, np.uint8) for k in range(24)]), fps)
    file.write_bytes(file.read_bytes().ljust(20_000, b"\0"))


def greys(one: ClipDataset) -> list[int]:
    (clip,) = one[key(0)]
    return clip.pixels[0, :, 4, 4].float().div(8).round().int().tolist()


@pytest.mark.parametrize("listed", ["manifest", "manifest without times of files", "folder"])
@pytest.mark.parametrize("mtime", ["new", "older than before"])
def test_a_file_that_was_replaced_under_its_name_is_scanned_again(tmp_path, caplog, listed, mtime):
    if listed != "manifest" and mtime != "new":
        pytest.skip("the time tells nothing there")
    video, source = tmp_path / "films" / "a.mp4", tmp_path / "list.csv"
    video.parent.mkdir()
    film(video, 24)
    if listed == "folder":
        source = video.parent
    elif listed == "manifest":
        write_manifest([str(video)], source, num_workers=1)
    else:
        with_facts(tmp_path, [str(video)]).rename(source)
    one = dataset(source, cuts=EvaluationCuts(CROP), frames=FrameSampling(4, fps=12))
    assert greys(one) == [9, 11, 13, 15] and not caplog.text
    before = video.stat()
    film(video, 240)
    assert video.stat().st_size == before.st_size
    if mtime != "new":
        os.utime(video, (before.st_mtime - 100, before.st_mtime - 100))
    again = dataset(source, cuts=EvaluationCuts(CROP), frames=FrameSampling(4, fps=12))
    for changed in (one, again, again):  # also one that has scanned the file that was there before
        assert greys(changed) == [0, 7, 15, 23]  # the file is shorter than the clip
    assert caplog.text.count("is not the file that") == (0 if listed == "folder" else 2)  # once for each dataset


def test_replaced_files_are_told_of_once_by_all_workers_and_in_all_epochs(tmp_path):
    for number in range(4):
        film(tmp_path / f"{number}.mp4", 24)
    write_manifest([str(tmp_path)], tmp_path / "list.csv", num_workers=1)
    for number in range(4):
        film(tmp_path / f"{number}.mp4", 240)
    one = dataset(tmp_path / "list.csv", cuts=EvaluationCuts(CROP), frames=FrameSampling(4, fps=12))
    handler = logging.FileHandler(tmp_path / "log.txt")  # which workers write to as well
    logging.getLogger("vjepa").addHandler(handler)
    for _ in range(2):
        assert len(list(decoding_loader(one, [[key(k)] for k in range(4)], list, num_workers=2))) == 4
    logging.getLogger("vjepa").removeHandler(handler)
    handler.close()
    said = (tmp_path / "log.txt").read_text().splitlines()
    assert 1 <= len(said) <= 2 and "is not the file that" in said[0]  # two workers may meet the first at once


@pytest.mark.parametrize("change", ["copied", "touched"])
def test_a_copied_file_gives_the_same_clips(tmp_path, caplog, change):
    video = tmp_path / "a.mp4"
    film(video, 24)
    write_manifest([str(video)], tmp_path / "list.csv", num_workers=1)
    if change == "copied":
        content = video.read_bytes()
        video.unlink()
        video.write_bytes(content)
    os.utime(video)
    assert greys(dataset(tmp_path / "list.csv", cuts=EvaluationCuts(CROP), frames=FrameSampling(4, fps=12))) == [
        *(9, 11, 13, 15)
    ]
    assert not caplog.text


def test_an_object_that_was_replaced_in_a_store_is_scanned_again(tmp_path):
    film(tmp_path / "a.mp4", 24)
    write_manifest([f"file://{tmp_path}/a.mp4"], tmp_path / "list.csv", num_workers=1)
    film(tmp_path / "a.mp4", 240)
    one = dataset(tmp_path / "list.csv", cuts=EvaluationCuts(CROP), frames=FrameSampling(4, fps=12))
    assert one.sources[0].manifest.facts(0).fps == 24 and greys(one) == [0, 7, 15, 23]


@pytest.mark.parametrize(
    "readers",
    [
        pytest.param(["decord", "pyav"]),
        ["pyav"],
    ],
)
def test_a_file_that_has_become_smaller_still_gives_clips(tiny_world, tmp_path, readers):
    stale = with_facts(tmp_path, videos(tiny_world)[:3], width=320, height=320)
    one = dataset(stale, cuts=training_cuts(crop_scale=(0.01, 0.05)), readers=ReaderChain(readers))
    for position in range(6):
        (clip,) = one[key(position)]
        assert clip.pixels.shape == (3, 4, 16, 24) and clip.failures == []


# --- files that can't be read


@pytest.fixture
def bad(tiny_world, tmp_path) -> list[str]:
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "cut.mp4").write_bytes(Path(videos(tiny_world)[0]).read_bytes()[:1000])
    return [str(tmp_path / name) for name in ("text.mp4", "cut.mp4", "missing.mp4")]


def test_unreadable_files_are_replaced_from_seed_and_position(tiny_world, tmp_path, bad):
    listing = list_of(tmp_path, [*bad, *videos(tiny_world)[:6]])
    clips = [dataset(listing)[key(position)][0] for position in range(9)]
    again = [dataset(listing)[key(position)][0] for position in range(9)]
    failures = [failure for clip in clips for failure in clip.failures]
    assert {failure.path for failure in failures} == set(bad) and {failure.source for failure in failures} == {
        "source0"
    }
    assert all("no such file" in failure.reason for failure in failures if "missing" in failure.path)
    assert_same_clips(clips, again)
    assert all(clip.row >= 3 for clip in clips)
    other_seed = [dataset(listing, seed=1)[key(position)][0].row for position in range(9)]
    assert other_seed != [clip.row for clip in clips]


def test_an_unreadable_file_is_replaced_by_one_of_its_source(tiny_world, tmp_path, bad):
    good = videos(tiny_world)
    first = list_of(tmp_path, good[:2], name="first.csv")
    second = list_of(tmp_path, [*bad, *good[2:5]], name="second.csv")
    one = dataset(first, second)
    failures, rows = [], set()
    for position in range(60):
        source, _ = one.order.draw(position)
        (clip,) = one[key(position)]
        assert clip.source == source and (clip.row >= 3 if source == 1 else not clip.failures)
        failures += clip.failures
        rows |= {clip.row} if clip.failures else set()
    assert {failure.path for failure in failures} == set(bad) and {failure.source for failure in failures} == {
        "source1"
    }
    assert rows == {3, 4, 5}  # any of the source's good files


def test_a_failure_is_told_once_for_all_clips_of_the_file_that_came_instead(tiny_world, tmp_path, bad):
    one = dataset(list_of(tmp_path, [bad[0], *videos(tiny_world)[:2]]), cuts=training_cuts(clips_per_video=3))
    position = next(p for p in range(3) if one.order.draw(p)[1] == 0)
    first, *others = one[key(position)]
    assert bad[0] in [failure.path for failure in first.failures] and all(clip.failures == [] for clip in others)


@pytest.mark.parametrize(("num_files", "num_tried"), [(1, "1"), (2, "2"), (60, r"1\d|20")])
def test_a_manifest_without_any_readable_file_ends_with_the_first_reasons(tmp_path, num_files, num_tried):
    for number in range(num_files):
        (tmp_path / f"{number:02d}.mp4").write_text("no video")
    reasons = r"; ".join([r"\S*\d\d.mp4: \w[^;]+"] * min(3, num_files))
    with pytest.raises(
        ValueError, match=rf"none of the ({num_tried}) files of .* that were tried can be read: {reasons}"
    ):
        dataset(tmp_path)[key(0)]


def test_readers_tell_what_is_wrong(tmp_path):
    readers = ReaderChain()
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(VideoError, match="Invalid data"):
        readers.scan(str(tmp_path / "empty.mp4"))
    for name in ("none.mp4", "none.png"):
        with pytest.raises(VideoError, match="no such file"):
            readers.scan(str(tmp_path / name))


# --- files in a store


@pytest.fixture
def in_memory(tiny_world):
    """The videos of the small world below memory:///tiny."""
    store = fsspec.filesystem("memory")
    for path in videos(tiny_world)[:6]:
        store.pipe_file(f"/tiny/{Path(path).name}", Path(path).read_bytes())
    store.pipe_file("/tiny/text.mp4", b"no video")
    yield "memory://tiny"
    store.store.clear()


@pytest.mark.parametrize("cuts", [training_cuts(), EvaluationCuts(CROP, 2, 3)])
def test_files_in_a_store_give_the_same_clips_as_on_a_disk(tiny_world, tmp_path, in_memory, cuts):
    paths = videos(tiny_world)[:6]
    on_disk = list_of(tmp_path, paths)
    in_store = list_of(tmp_path, [f"{in_memory}/{Path(path).name}" for path in paths], name="store.csv")
    for position in range(8):
        assert_same_clips(dataset(in_store, cuts=cuts)[key(position)], dataset(on_disk, cuts=cuts)[key(position)])


def test_unreadable_files_in_a_store_are_replaced_and_named(tiny_world, tmp_path, in_memory):
    paths = [f"{in_memory}/{name}" for name in ("text.mp4", "none.mp4", Path(videos(tiny_world)[0]).name)]
    one = dataset(list_of(tmp_path, paths))
    failures = [failure for position in range(3) for failure in one[key(position)][0].failures]
    assert {failure.path for failure in failures} == set(paths[:2])
    assert all(failure.reason == "no such file" for failure in failures if failure.path == paths[1])


# --- images


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A folder of eight PNG files in two classes, each 40 high and 60 wide."""
    generator = np.random.default_rng(0)
    for number in range(8):
        file = tmp_path / "pictures" / ("cat", "dog")[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(file)
    return tmp_path / "pictures"


@pytest.mark.parametrize("rate", [{"fps": 4.0}, {"frame_step": 2}, {"duration": 2.0}])
def test_a_clip_of_an_image_repeats_one_picture(pictures, rate):
    one = dataset(pictures, frames=FrameSampling(4, **rate))
    for position in range(8):
        (clip,) = one[key(position)]
        assert clip.pixels.shape == (3, 4, 16, 24) and clip.failures == []
        assert (clip.pixels == clip.pixels[:, :1]).all()
        assert clip.label == int("dog" in one.sources[0].manifest.paths[clip.row])


def test_an_evaluation_clip_of_an_image_is_the_image(pictures):
    (clip,) = dataset(pictures, cuts=EvaluationCuts((40, 60)), shuffle=False)[key(0)]
    picture = np.asarray(Image.open(read_manifest(pictures).paths[0]))
    assert (clip.pixels.numpy() == channels_first(np.repeat(picture[None], 4, axis=0))).all()


def test_an_image_in_a_store_is_one_too(pictures, tmp_path):
    paths = list(read_manifest(pictures).paths)
    on_disk = list_of(tmp_path, paths)
    in_store = list_of(tmp_path, [f"file://{path}" for path in paths], name="store.csv")
    for position in range(4):
        assert_same_clips(dataset(in_store)[key(position)], dataset(on_disk)[key(position)])


# --- batches


def test_pixels_are_normalized_by_imagenet():
    clips = torch.full((1, 3, 1, 1, 1), 255, dtype=torch.uint8)
    assert normalize_clips(clips).flatten().tolist() == pytest.approx([2.2489, 2.4286, 2.6400], abs=1e-3)


def test_masks_of_a_batch_follow_from_positions(tiny_world):
    one = dataset(tiny_world / "train.csv")
    files = [one[SampleKey(position, 8)] for position in range(8, 12)]
    collate = MaskingCollate([MultiBlockTubes(4), MultiBlockTubes(4)], (2, 4, 6), seed=0)
    batch, half = collate(files), collate(files[2:])
    assert batch.clips.shape == (4, 3, 4, 16, 24) and batch.positions.tolist() == [8, 9, 10, 11]
    for whole, part in zip(batch.masks, half.masks, strict=True):
        assert torch.equal(whole.target_ids[2:], part.target_ids)
    assert not torch.equal(batch.masks[0].target_ids, batch.masks[1].target_ids)
    other = MaskingCollate([MultiBlockTubes(4)], (2, 4, 6), seed=1)(files)
    assert not torch.equal(batch.masks[0].target_ids, other.masks[0].target_ids)


def test_clips_of_one_file_share_their_position_and_have_masks_of_their_own(tiny_world):
    collate = MaskingCollate([MultiBlockTubes(4)], (2, 4, 6), seed=0)
    several = dataset(tiny_world / "train.csv", cuts=training_cuts(clips_per_video=4))
    batch = collate([several[SampleKey(position, 8)] for position in (8, 9)])
    assert batch.clips.shape == (8, 3, 4, 16, 24) and batch.positions.tolist() == [8] * 4 + [9] * 4
    assert len({tuple(ids) for ids in batch.masks[0].target_ids.tolist()}) > 4
    one = collate([dataset(tiny_world / "train.csv")[SampleKey(position, 8)] for position in (8, 9)])
    assert torch.equal(batch.masks[0].target_ids[::4], one.masks[0].target_ids)


def test_a_batch_names_source_row_and_seconds_of_each_clip_and_all_failures(tiny_world, tmp_path, bad):
    one = dataset(list_of(tmp_path, [bad[0], *videos(tiny_world)[:3]]), tiny_world / "val.csv")
    files = [one[SampleKey(position, 0)] for position in range(20)]
    batch = MaskingCollate([MultiBlockTubes(4)], (2, 4, 6), seed=0)(files)
    clips = [clip for of_file in files for clip in of_file]
    assert batch.sources.tolist() == [clip.source for clip in clips] and set(batch.sources.tolist()) == {0, 1}
    assert batch.rows.tolist() == [clip.row for clip in clips]
    assert batch.labels.tolist() == [clip.label for clip in clips]
    assert batch.seconds.tolist() == pytest.approx([0.5] * 20)
    assert {failure.path for failure in batch.failures} == {bad[0]}


class _Run:
    """As much of a Trainer as a data module asks for."""

    global_rank, world_size, training, log_dir = 0, 1, True, None

    def __init__(self, folder: Path):
        self.default_root_dir = str(folder)
        self.fit_loop = Trainer(logger=False, enable_checkpointing=False).fit_loop


def data_module(folder: Path, **settings) -> ClipDataModule:
    defaults = {
        "masks": [MultiBlockTubes(4)],
        "num_frames": 4,
        "frame_step": 2,
        "crop_size": (32, 32),
        "tubelet": (2, 8, 8),
        "global_batch_size": 4,
        "num_workers": 0,
    }
    data = ClipDataModule(**defaults | settings)
    data.trainer = _Run(folder)
    return data


def test_images_beside_videos_come_in_batches_of_one_shape_each(tiny_world, tmp_path, pictures):
    mixture = [
        Source(str(tiny_world / "train.csv"), weight=2.0),
        Source(str(pictures), weight=1.0, name="pictures", num_frames=2),
    ]
    data = data_module(tmp_path, mixture=mixture)
    data.setup("fit")
    assert data.batches_per_epoch == (26 + 8) // 4
    counts, clips = {4: 0, 2: 0}, np.zeros(2, int)
    for _ in range(3):
        for batch in data.train_dataloader():
            (source,) = set(batch.sources.tolist())
            frames = (4, 2)[source]
            assert batch.clips.shape == (4, 3, frames, 32, 32)
            tokens = frames // 2 * 16
            assert batch.masks[0].context_ids.shape[1] + batch.masks[0].target_ids.shape[1] == tokens
            counts[frames] += 1
            clips[source] += 4
            data.on_after_batch_transfer(batch, 0)
            assert [data.usage()[name].clips for name in ("train", "pictures")] == clips.tolist()
    assert sum(counts.values()) == 24 and counts[2] > 2 and counts[4] > 8


@needs_decord
@pytest.mark.parametrize("num_workers", [0, 2])
def test_what_is_kept_in_memory_changes_no_batch(tiny_world, tmp_path, pictures, num_workers):
    mixture = [Source(str(tiny_world / "train.csv")), Source(str(pictures), name="pictures", num_frames=2)]

    def two_epochs(**settings) -> list[torch.Tensor]:
        data = data_module(tmp_path, mixture=mixture, num_workers=num_workers, **settings)
        data.setup("fit")
        return [data.on_after_batch_transfer(batch, 0).clips for _ in range(2) for batch in data.train_dataloader()]

    for kept, plain in zip(two_epochs(cache_gigabytes=0.1), two_epochs(), strict=True):
        assert torch.equal(kept, plain)


def test_every_row_is_evaluated_once_and_the_last_batch_filled_up(tiny_world, tmp_path):
    data = data_module(tmp_path, val_manifest=str(tiny_world / "val.csv"), eval_segments=2)
    data.setup("validate")
    batches = list(data.val_dataloader())
    assert [batch.rows.tolist() for batch in batches] == [[0, 0, 1, 1], [2, 2, 3, 3], [4, 4, 5, 5]]
    data = data_module(tmp_path, val_manifest=str(tiny_world / "val.csv"))
    data.setup("validate")
    assert [batch.rows.tolist() for batch in data.val_dataloader()] == [[0, 1, 2, 3], [4, 5, 0, 1]]


def test_a_batch_of_several_clips_per_video_has_as_many_clips_as_asked(tiny_world, tmp_path):
    data = data_module(tmp_path, train_manifest=str(tiny_world / "train.csv"), clips_per_video=2)
    data.setup("fit")
    batches = [data.on_after_batch_transfer(batch, 0) for batch in data.train_dataloader()]
    assert len(batches) == data.batches_per_epoch == 13
    assert all(len(batch.clips) == 4 for batch in batches)
    assert [row for batch in batches for row in batch.positions.tolist()] == [p for p in range(26) for _ in range(2)]
    assert data.usage()["train"].clips == 52 and data.usage()["train"].seconds == pytest.approx(52 * 0.5)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"clips_per_video": 3}, r"global_batch_size \(4\) must be a multiple of clips_per_video \(3\); try 6"),
        ({"eval_views": 0}, r"eval_views \(0\) must be at least 1"),
        ({"cache_gigabytes": -1.0}, r"cache_gigabytes \(-1.0\) must be at least 0"),
        ({"train_manifest": "a.csv", "mixture": [Source("b.csv")]}, "give either train_manifest or mixture, not both"),
        ({"mixture": [Source("a.csv", weight=0.0)]}, r"the weight of a \(0.0\) must be more than 0"),
        ({"mixture": [Source("x/a.csv"), Source("y/a.csv")]}, r"two sources .* one name \(a, a\); give each a `name`"),
        ({"mixture": [Source("a.csv", num_frames=3)]}, r"num_frames \(3\) must be a multiple of .*; try 4"),
        ({"fps": 4.0}, r"give exactly one of fps \(4.0\) and frame_step \(2\)"),
        ({"readers": ["opencv"]}, r"readers \(opencv\) must be some of decord, pyav, torchcodec"),
        ({"masks": []}, "masks is empty; give at least one mask strategy"),
    ],
)
def test_a_data_module_of_no_use_is_refused(tmp_path, setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        data_module(tmp_path, **setting)
