"""Videos of any size and rate become the clips that an encoder was trained on."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch

from vjepa.interop.load_encoder import LoadedEncoder
from vjepa.interop.portable import Preprocessing
from vjepa.models import VideoEncoder


def encoder_of(**clips) -> LoadedEncoder:
    network = VideoEncoder(embed_dim=12, depth=1, num_heads=2, tubelet=(2, 8, 8))
    return LoadedEncoder(network, Preprocessing(**{"num_frames": 4, "crop_size": (16, 16)} | clips), "vjepa", "here")


def frames_by_number(count: int, height: int = 16, width: int = 16) -> np.ndarray:
    """(T, H, W, 3): all pixels of a frame are its number."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, height, width, 3)).copy()


def numbers(clips: torch.Tensor) -> list[list[int]]:
    return clips[:, 0, :, 0, 0].tolist()


def test_frames_are_taken_at_the_encoder_s_rate():
    clips = encoder_of(fps=5.0).prepare(frames_by_number(24), fps=10)
    assert clips.dtype == torch.uint8 and clips.shape == (3, 3, 4, 16, 16)
    assert numbers(clips) == [[0, 2, 4, 6], [8, 10, 12, 14], [16, 18, 20, 22]]
    assert numbers(encoder_of(fps=None, frame_step=3).prepare(frames_by_number(12))) == [[0, 3, 6, 9]]
    assert torch.equal(clips, encoder_of(fps=5.0).prepare(torch.from_numpy(frames_by_number(24)), fps=10))


def test_long_videos_are_spread_and_short_ones_stretched():
    encoder = encoder_of(fps=None, frame_step=1)
    assert numbers(encoder.prepare(frames_by_number(40), max_clips=2)) == [[0, 1, 2, 3], [36, 37, 38, 39]]
    assert numbers(encoder.prepare(frames_by_number(2))) == [[0, 0, 0, 1]]


def test_the_largest_central_crop_is_taken():
    frames = np.zeros((4, 16, 32, 3), np.uint8)
    frames[:, :, 8:24] = 100
    assert (encoder_of(fps=None, frame_step=1).prepare(frames) == 100).all()


def test_a_file_gives_what_its_frames_give(tiny_world: Path):
    encoder, file = encoder_of(fps=None, frame_step=2, crop_size=(32, 32)), tiny_world / "videos" / "test" / "00000.mp4"
    with av.open(str(file)) as video:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])
    clips = encoder.prepare(file)
    assert torch.equal(clips, encoder.prepare(frames)) and torch.equal(clips, encoder.prepare(str(file)))
    assert encoder.embed_clips(clips).shape == (len(clips), 12)


@pytest.mark.parametrize(
    ("video", "fps", "sentence"),
    [
        (np.zeros((4, 16, 16, 3), np.float32), 10, "float32 must be .frames, height, width, 3. of uint8"),
        (np.zeros((3, 4, 16, 16), np.uint8), 10, r"shape \(3, 4, 16, 16\) and uint8 must be"),
        (np.zeros((4, 16, 16, 3), np.uint8), None, "this encoder takes 5 frames per second, and an array does not"),
        (np.zeros((4, 16, 16, 3), np.uint8), 0, "fps .0. must be more than 0"),
        ("none.mp4", 10, "fps .10. is that of an array; none.mp4 is a file"),
        ("none.mp4", None, "none.mp4 can't be read"),
    ],
)
def test_what_is_no_video_is_refused(video, fps, sentence):
    with pytest.raises(ValueError, match=sentence):
        encoder_of(fps=5.0).prepare(video, fps)
