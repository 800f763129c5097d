"""Small videos are decoded once: the same frames, within the memory that is allowed."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.clips.test_dataset import assert_same_clips, dataset, key, list_of, training_cuts, videos
from tests.needs_decord import needs_decord
from vjepa.data.video.facts import VideoError, scan_video
from vjepa.data.video.reader import ReaderChain
from vjepa.data.video.transforms import CropBox
from vjepa.data.video.video_cache import VideoCache


class Counting(ReaderChain):
    """Readers that say what they were asked for."""

    def __init__(self):
        super().__init__()
        self.asked: list[tuple[str, int]] = []

    def decode(self, source, facts, frame_ids, crop_box=None, size=None):
        self.asked.append((source, len(frame_ids)))
        return super().decode(source, facts, frame_ids, crop_box, size)


@needs_decord
@pytest.mark.parametrize("clips_per_video", [1, 2])
def test_clips_are_the_same_and_each_file_is_decoded_once(tiny_world: Path, tmp_path, clips_per_video):
    listing, cuts = list_of(tmp_path, videos(tiny_world)[:3]), training_cuts(clips_per_video=clips_per_video)
    readers = Counting()
    keeping, plain = (dataset(listing, cuts=cuts, readers=each) for each in (VideoCache(readers, 1.0), ReaderChain()))
    for position in range(9):  # three epochs
        assert_same_clips(keeping[key(position)], plain[key(position)])
    assert sorted({path for path, _ in readers.asked}) == sorted(videos(tiny_world)[:3])
    assert len(readers.asked) == 3


@needs_decord
def test_frames_are_those_of_the_readers_with_crop_and_size(tiny_world: Path):
    path = videos(tiny_world)[0]
    facts, asked = scan_video(path), ([3, 1, 1, 0], CropBox(2, 4, 20, 24), (10, 12))
    kept = VideoCache(ReaderChain(), 1.0)
    for _ in range(2):
        np.testing.assert_array_equal(kept.decode(path, facts, *asked), ReaderChain().decode(path, facts, *asked))
    whole = Path(path).read_bytes()
    np.testing.assert_array_equal(kept.decode(whole, facts, *asked), ReaderChain().decode(path, facts, *asked))


def test_no_more_is_videos_than_there_is_room_for(tiny_world: Path):
    first, second, *_ = videos(tiny_world)
    facts = scan_video(first)
    size = 3 * facts.num_frames * facts.height * facts.width

    def asked_of(gigabytes: float) -> list[str]:
        readers = Counting()
        kept = VideoCache(readers, gigabytes)
        for path in (first, second, first, second):
            kept.decode(path, scan_video(path), [0])
        return [path for path, _ in readers.asked]

    assert asked_of(101 * size / 1e9) == [first, second]
    assert asked_of(99 * size / 1e9) == [first, second, first, second]  # each is more than a hundredth
    kept = VideoCache(ReaderChain(), 101 * size / 1e9)
    kept._bytes = 100 * size
    kept.decode(first, facts, [0])
    kept.decode(second, scan_video(second), [0])
    assert [path for path, _ in kept._videos] == [first]


def test_a_file_that_was_replaced_is_decoded_anew(tiny_world: Path, tmp_path):
    first, second, *_ = videos(tiny_world)
    file = str(tmp_path / "a.mp4")
    kept = VideoCache(ReaderChain(), 1.0)
    for original in (first, second):
        Path(file).write_bytes(Path(original).read_bytes())
        facts = scan_video(file)
        assert (kept.decode(file, facts, [0, 3]) == ReaderChain().decode(original, facts, [0, 3])).all()


def test_a_video_that_ends_early_is_read_as_before(tiny_world: Path):
    class Short(Counting):
        def decode(self, source, facts, frame_ids, crop_box=None, size=None):
            frames = super().decode(source, facts, frame_ids, crop_box, size)
            if max(frame_ids) > 3:
                raise VideoError("frame 4 is missing")
            return frames

    path, readers = videos(tiny_world)[0], Short()
    kept = VideoCache(readers, 1.0)
    for _ in range(2):
        assert len(kept.decode(path, scan_video(path), [0, 2])) == 2
    assert [count for _, count in readers.asked] == [scan_video(path).num_frames, 2, 2]
    with pytest.raises(VideoError, match="frame 4 is missing"):
        kept.decode(path, scan_video(path), [0, 5])


def test_a_copy_for_another_process_starts_empty(tiny_world: Path):
    path = videos(tiny_world)[0]
    kept = VideoCache(ReaderChain(), 1.0)
    frames = kept.decode(path, scan_video(path), [0])
    copy = pickle.loads(pickle.dumps(kept))
    assert kept._videos and not copy._videos and copy._bytes == 0
    assert torch.equal(torch.from_numpy(copy.decode(path, scan_video(path), [0])), torch.from_numpy(frames))
