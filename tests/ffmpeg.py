"""The ffmpeg command as the judge of frames: its own build, so that it agrees with nobody by accident."""

import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


def run_ffmpeg(*arguments: str | Path) -> None:
    command = [FFMPEG, "-v", "error", "-y", "-nostdin", "-threads", "1", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


def ffmpeg_frames(path: str | Path) -> Iterator[np.ndarray]:  # each (H, W, 3) uint8
    """All frames as `ffmpeg -i path` gives them out, none repeated or dropped for their times."""
    command = [FFMPEG, "-v", "error", "-nostdin", "-threads", "1", "-i", str(path), "-an", "-sn", "-dn"]
    command += ["-fps_mode", "passthrough", "-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=1 << 20) as process:
        output = process.stdout
        assert output is not None
        try:
            while output.readline():  # "P6"
                width, height = map(int, output.readline().split())
                output.readline()
                yield np.frombuffer(output.read(3 * width * height), np.uint8).reshape(height, width, 3)
        finally:
            process.kill()


def frames_at(path: str | Path, frame_ids: Iterable[int]) -> tuple[dict[int, np.ndarray], int]:
    """Some frames by number, and how many there are."""
    wanted, found, number = set(frame_ids), {}, -1
    for number, frame in enumerate(ffmpeg_frames(path)):
        if number in wanted:
            found[number] = frame
    return found, number + 1


def largest_difference(ours: np.ndarray, theirs: np.ndarray) -> int:
    assert ours.shape == theirs.shape, f"{ours.shape} is not {theirs.shape}"
    return int(np.abs(ours.astype(np.int16) - theirs).max())
