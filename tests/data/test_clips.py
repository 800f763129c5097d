"""Manifests, frame numbers, crops, order, and what happens to files that can't be read."""

from pathlib import Path

import numpy as np
import pytest
import torch

from vjepa.data.batch import ClipCollate, normalize_clips
from vjepa.data.clips import ClipDataset
from vjepa.data.frame_sampling import clip_frame_ids
from vjepa.data.manifest import read_manifest
from vjepa.data.order import BatchSampler, ClipKey, ClipOrder
from vjepa.data.quarantine import Quarantine
from vjepa.data.randomness import Purpose, generator_for
from vjepa.data.reader import DecordReader, VideoError
from vjepa.data.transforms import central_crop_box, crop_resize_flip, random_crop_box
from vjepa.grid import TokenGrid
from vjepa.masking import MultiBlockTubes

# --- frames of a clip


@pytest.mark.parametrize("uniform", [0.0, 0.3, 0.999999])
@pytest.mark.parametrize("file_frames", [1, 3, 15, 16, 40, 300])
@pytest.mark.parametrize("file_fps", [2.0, 24.0, 29.97, 60.0])
def test_frame_ids_stay_inside_the_file_and_ascend(file_frames, file_fps, uniform):
    for setting in ({"fps": 4.0, "frame_step": None}, {"fps": None, "frame_step": 3}):
        ids = clip_frame_ids(file_frames, file_fps, 16, **setting, uniform=uniform)
        assert ids.shape == (16,) and ids.min() >= 0 and ids.max() < file_frames
        assert (np.diff(ids) >= 0).all()


def test_frame_ids_keep_the_asked_rate():
    ids = clip_frame_ids(300, 30.0, 16, fps=4.0, frame_step=None, uniform=0.0)
    assert ids[0] == 0 and ids[-1] == 112 and set(np.diff(ids)) == {7, 8}
    assert clip_frame_ids(300, 30.0, 4, fps=None, frame_step=2, uniform=0.5).tolist() == [147, 149, 151, 153]


def test_every_start_of_a_clip_is_possible():
    starts = {int(clip_frame_ids(10, 30.0, 4, None, 2, u)[0]) for u in np.linspace(0, 0.9999, 200)}
    assert starts == {0, 1, 2, 3}


def test_a_short_file_has_no_frozen_tail():
    ids = clip_frame_ids(40, 30.0, 16, fps=4.0, frame_step=None, uniform=0.7)
    assert ids[0] == 0 and ids[-1] == 39 and np.diff(ids).min() >= 2


def test_exactly_one_of_fps_and_frame_step_is_needed():
    for setting in ({"fps": None, "frame_step": None}, {"fps": 4.0, "frame_step": 2}):
        with pytest.raises(ValueError, match="exactly one of fps"):
            clip_frame_ids(40, 30.0, 16, **setting, uniform=0.0)


# --- crops


def test_random_crops_fit_and_keep_their_range():
    generator = np.random.default_rng(0)
    for _ in range(200):
        box = random_crop_box((120, 160), (0.3, 1.0), (0.75, 1.35), generator)
        assert 0 <= box.top <= 120 - box.height and 0 <= box.left <= 160 - box.width
        assert 0.28 < box.height * box.width / (120 * 160) <= 1.0
        assert 0.7 < box.width / box.height < 1.4


def test_a_crop_that_never_fits_falls_back_to_the_middle():
    box = random_crop_box((100, 10), (0.9, 1.0), (1.0, 1.0), np.random.default_rng(0))
    assert box == central_crop_box((100, 10), (1.0, 1.0)) == (45, 0, 10, 10)


def test_crop_resize_flip_is_the_same_for_all_frames():
    frames = np.repeat(np.random.default_rng(0).integers(0, 255, (1, 20, 30, 3), dtype=np.uint8), 3, axis=0)
    box = central_crop_box((20, 30), (1.0, 1.0))
    clip = crop_resize_flip(frames, box, (8, 8), flip=True)
    assert clip.shape == (3, 3, 8, 8) and clip.dtype == np.uint8
    assert (clip == clip[:, :1]).all()
    assert (clip[:, :, :, ::-1] == crop_resize_flip(frames, box, (8, 8), flip=False)).all()


def test_pixels_are_normalized_by_imagenet():
    clips = torch.full((1, 3, 1, 1, 1), 255, dtype=torch.uint8)
    assert normalize_clips(clips).flatten().tolist() == pytest.approx([2.2489, 2.4286, 2.6400], abs=1e-3)


# --- order


def test_each_pass_shows_every_row_once_in_another_order():
    order = ClipOrder(7, seed=3)
    passes = [[order.row(sweep * 7 + place) for place in range(7)] for sweep in range(3)]
    assert all(sorted(rows) == list(range(7)) for rows in passes)
    assert passes[0] != passes[1]


def test_ranks_together_see_what_one_rank_sees():
    def keys(rank, world):
        return list(BatchSampler(6, 4, lambda: (12, 3), rank, world))

    for whole, first, second, third in zip(keys(0, 1), keys(0, 3), keys(1, 3), keys(2, 3), strict=True):
        assert whole == first + second + third
        assert {key.batch_position for key in whole} == {whole[0].position}
    assert keys(0, 1)[0][0] == ClipKey(12, 12, 18) and len(keys(0, 1)) == 3


def test_purposes_share_no_random_numbers():
    drawn = {generator_for(0, purpose, 5).random() for purpose in Purpose}
    assert len(drawn) == len(Purpose)


# --- manifests


def test_a_csv_manifest_reads_paths_labels_and_splits(tmp_path):
    file = tmp_path / "list.csv"
    file.write_text("path,label,split\na b.mp4,run,train\nc.mp4,jump,val\nd.mp4,run,train\n")
    manifest = read_manifest(file, split="train")
    assert manifest.paths == [str(tmp_path / "a b.mp4"), str(tmp_path / "d.mp4")]
    assert manifest.labels == [0, 0] and manifest.label_names == ["run"]
    assert read_manifest(file, root=tmp_path / "videos").paths[1] == str(tmp_path / "videos" / "c.mp4")


def test_a_folder_is_a_manifest_and_its_sub_folders_are_classes(tmp_path):
    for name in ("run/b.mp4", "jump/a.AVI", "jump/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    manifest = read_manifest(tmp_path)
    assert [path.rpartition("/")[2] for path in manifest.paths] == ["a.AVI", "b.mp4"]
    assert manifest.label_names == ["jump", "run"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "there is no manifest or folder .*list.csv; give a CSV file"),
        ("video,label\na.mp4,run\n", r"has no column 'path' in its header line .found: video, label."),
        ("path,label\n", "lists no video"),
        ("", r"has no column 'path' in its header line .found: nothing."),
    ],
)
def test_a_manifest_of_no_use_is_refused(tmp_path, content, sentence):
    file = tmp_path / "list.csv"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ValueError, match=sentence):
        read_manifest(file)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no video file; known endings are"):
        read_manifest(tmp_path)


# --- clips and batches


def dataset(tiny_world, augment=True, manifest=None, seed=0) -> ClipDataset:
    manifest = manifest or read_manifest(tiny_world / "train.csv")
    return ClipDataset(
        manifest, ClipOrder(len(manifest), seed), 4, (16, 24), None, 2, (0.5, 1.0), (1.0, 2.0), 0.5, augment
    )


def test_a_clip_is_a_function_of_seed_and_position(tiny_world):
    key = ClipKey(40, 40, 44)
    first, second = dataset(tiny_world)[key], dataset(tiny_world)[key]
    assert torch.equal(first.pixels, second.pixels) and first.row == second.row
    assert first.pixels.shape == (3, 4, 16, 24) and first.pixels.dtype == torch.uint8
    assert not torch.equal(first.pixels, dataset(tiny_world, seed=1)[key].pixels)


def test_a_clip_without_augmentation_is_the_middle_of_the_file(tiny_world):
    clip = dataset(tiny_world, augment=False)[ClipKey(0, 0, 4)]
    reader = DecordReader(read_manifest(tiny_world / "train.csv").paths[clip.row])
    frames = reader.read([3, 5, 7, 9])
    box = central_crop_box((32, 32), (1.5, 1.5))
    assert (clip.pixels.numpy() == crop_resize_flip(frames, box, (16, 24), flip=False)).all()


def test_unreadable_files_are_replaced_from_seed_and_position(tiny_world, tmp_path):
    good = read_manifest(tiny_world / "train.csv").paths
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "cut.mp4").write_bytes(Path(good[0]).read_bytes()[:1000])
    bad = [str(tmp_path / name) for name in ("text.mp4", "cut.mp4", "missing.mp4")]
    listing = tmp_path / "list.csv"
    listing.write_text("path\n" + "\n".join([*bad, *good[:6]]) + "\n")
    clips = [dataset(tiny_world, manifest=read_manifest(listing))[ClipKey(p, p, p + 1)] for p in range(9)]
    again = [dataset(tiny_world, manifest=read_manifest(listing))[ClipKey(p, p, p + 1)] for p in range(9)]
    assert {path for clip in clips for path, _ in clip.failures} == set(bad)
    assert all("no such file" in reason for clip in clips for path, reason in clip.failures if "missing" in path)
    assert [clip.row for clip in clips] == [clip.row for clip in again]
    assert all(clip.row >= 3 for clip in clips)


def test_a_manifest_without_any_readable_file_ends_with_a_sentence(tiny_world, tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(ValueError, match=r"20 files of .* in a row could not be read, the last was .*a.mp4"):
        dataset(tiny_world, manifest=read_manifest(tmp_path))[ClipKey(0, 0, 1)]


def test_the_reader_tells_what_is_wrong(tmp_path):
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(VideoError):
        DecordReader(str(tmp_path / "empty.mp4"))
    with pytest.raises(VideoError, match="no such file"):
        DecordReader(str(tmp_path / "none.mp4"))


def test_masks_of_a_batch_follow_from_positions(tiny_world):
    clips = [dataset(tiny_world)[ClipKey(position, 8, 12)] for position in range(8, 12)]
    collate = ClipCollate([MultiBlockTubes(4), MultiBlockTubes(4)], TokenGrid(2, 4, 4), seed=0)
    batch, half = collate(clips), collate(clips[2:])
    assert batch.clips.shape == (4, 3, 4, 16, 24) and batch.positions.tolist() == [8, 9, 10, 11]
    assert batch.next_position == 12
    for whole, part in zip(batch.masks, half.masks, strict=True):
        assert torch.equal(whole.target_ids[2:], part.target_ids)
    assert not torch.equal(batch.masks[0].target_ids, batch.masks[1].target_ids)


# --- quarantine


def test_quarantine_lists_each_file_once_and_survives_a_restart(tmp_path):
    file = tmp_path / "run" / "quarantine.csv"
    for _ in range(2):
        Quarantine(file, 10, 0.5).add([("a.mp4", "cut short"), ("a.mp4", "cut short"), ("b.mp4", "no such file")])
    assert file.read_text().splitlines() == ["path,reason", "a.mp4,cut short", "b.mp4,no such file"]


def test_too_many_bad_files_stop_the_run(tmp_path):
    quarantine = Quarantine(tmp_path / "quarantine.csv", 10, 0.15)
    quarantine.add([("a.mp4", "cut short")])
    with pytest.raises(ValueError, match=r"2 of 10 files could not be read, more than max_bad_share .15%."):
        quarantine.add([("b.mp4", "cut short")])
