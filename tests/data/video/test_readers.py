"""Frames of every reader are those of the ffmpeg command, on the kinds of file that readers get wrong."""

import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from tests.ffmpeg import ffmpeg_frames, frames_at, largest_difference, run_ffmpeg
from tests.needs_decord import needs_decord
from vjepa.data.video.decord_reader import DecordReader
from vjepa.data.video.facts import Trait, VideoError, VideoFacts, scan_video
from vjepa.data.video.pyav_reader import PyAVReader, all_frames, decode_from_the_start
from vjepa.data.video.reader import ReaderChain
from vjepa.data.video.torchcodec_reader import TorchcodecReader
from vjepa.data.video.transforms import CropBox, crop_resize

SOURCE = ("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=25:duration=3,noise=all_seed=1:alls=12:allf=t")
X264 = ("-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "veryfast")
ROUNDING = 3
CROPPING = [reader for reader in (DecordReader(), PyAVReader()) if reader.missing() is None]

# name of the file -> how ffmpeg makes it
MADE = {
    "closed.mp4": (*SOURCE, *X264, "-g", "12", "-x264-params", "open-gop=0"),
    "long_group.mkv": (*SOURCE, *X264, "-g", "250"),
    "open_group.mp4": (*SOURCE, *X264, "-g", "12", "-x264-params", "open-gop=1:scenecut=0"),
    "intra_refresh.mp4": (*SOURCE, *X264, "-x264-params", "intra-refresh=1:keyint=20"),
    "all_intra.mp4": (*SOURCE, *X264, "-g", "1"),
    "full_colour.mp4": (*SOURCE, "-pix_fmt", "yuv444p", "-c:v", "libx264", "-g", "12"),
    "odd_size.mp4": (*SOURCE, "-vf", "scale=95:63", "-pix_fmt", "yuv444p", "-c:v", "libx264", "-g", "12"),
    "odd_subsampled.webm": (
        *SOURCE,
        "-vf",
        "scale=95:63",
        "-pix_fmt",
        "yuv420p",
        "-c:v",
        "libvpx-vp9",
        "-cpu-used",
        "8",
    ),
    "ten_bits.mp4": (*SOURCE, "-pix_fmt", "yuv420p10le", "-c:v", "libx264", "-g", "12"),
    "hevc_open.mp4": (*SOURCE, "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=0:keyint=12"),
    "vp8.webm": (*SOURCE, "-c:v", "libvpx", "-b:v", "300k", "-auto-alt-ref", "1", "-lag-in-frames", "16"),
    "vp9.webm": (*SOURCE, "-c:v", "libvpx-vp9", "-b:v", "300k", "-cpu-used", "8", "-lag-in-frames", "16"),
    "av1.mp4": (*SOURCE, "-t", "1", "-c:v", "libaom-av1", "-cpu-used", "8", "-b:v", "300k"),
    "variable_rate.mp4": (
        *(*SOURCE, "-vf", "setpts='if(lt(N,30),N,30+(N-30)*2.5+mod(N,3)*0.3)/25/TB'", "-fps_mode", "passthrough"),
        *("-video_track_timescale", "12800", *X264, "-g", "20"),
    ),
    "interlaced.mp4": (*SOURCE, "-vf", "interlace", "-flags", "+ilme+ildct", *X264, "-x264-params", "tff=1"),
    "fragmented.mp4": (*SOURCE, *X264, "-g", "12", "-movflags", "frag_keyframe+empty_moov"),
    "b_frames.avi": (*SOURCE, "-c:v", "mpeg4", "-bf", "2", "-g", "12"),
    "no_b_frames.avi": (*SOURCE, "-c:v", "mpeg4", "-bf", "0", "-g", "12"),
    "motion_jpeg.avi": (*SOURCE, "-pix_fmt", "yuvj420p", "-c:v", "mjpeg"),
    "programme.mpg": (*SOURCE, "-c:v", "mpeg2video", "-bf", "2"),
    "transport.ts": (*SOURCE, *X264, "-g", "12"),
    "no_container.h264": (*SOURCE, *X264, "-g", "12"),
    "windows.wmv": (*SOURCE, "-c:v", "wmv2"),
    "animation.gif": (*SOURCE, "-t", "1"),
    "one_frame.mp4": (*SOURCE, "-frames:v", "1", *X264),
    "tiny.mp4": (*SOURCE, "-t", "1", "-vf", "scale=8:8", *X264),
}
# name -> (made from, options)
TRIMMED = {
    "trimmed.mp4": ("long_group.mkv", ("-ss", "1.3")),  # an edit list hides what leads up to the cut
    "trimmed_open.mp4": ("open_group.mp4", ("-ss", "1.1")),
    "trimmed.mkv": ("long_group.mkv", ("-ss", "1.3")),
}
ROTATED = {f"rotated_{degrees}.mp4": degrees for degrees in (90, 180, 270)}
RESIZED = "resized.ts"
ALL = [*MADE, *TRIMMED, *ROTATED, RESIZED]
MORE_THAN_8_BITS = ("ten_bits.mp4",)


@pytest.fixture(scope="session")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one file of each kind."""
    folder = tmp_path_factory.mktemp("odd")
    for name, options in MADE.items():
        run_ffmpeg(*options, folder / name)
    for name, (original, cut) in TRIMMED.items():
        run_ffmpeg(*cut, "-i", folder / original, "-c", "copy", folder / name)
    for name, degrees in ROTATED.items():
        _rotate(folder / "closed.mp4", folder / name, degrees)
    for size in ("96x64", "64x48"):
        run_ffmpeg(*SOURCE[:3], f"testsrc2=size={size}:rate=25:duration=1", *X264, folder / f"{size}.ts")
    (folder / RESIZED).write_bytes(b"".join((folder / f"{size}.ts").read_bytes() for size in ("96x64", "64x48")))
    return folder


def _rotate(original: Path, rotated: Path, degrees: int) -> None:
    with av.open(str(original)) as source, av.open(str(rotated), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(degrees)
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)


def _some(facts: VideoFacts) -> list[int]:
    """Ends, neighbours and jumps."""
    last = facts.num_frames - 1
    return sorted({min(last, n) for n in (0, 1, 5, 12, 13, 24, 37, 38, 50, last // 2, last - 1, last) if n >= 0})


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("first", ["decord", "pyav", "torchcodec"])
def test_frames_are_those_of_the_ffmpeg_command(odd, name, first):
    if first == "torchcodec" and (missing := TorchcodecReader().missing()):
        pytest.skip(missing)
    chain = ReaderChain([first, "pyav"], time_limit=30)
    facts = chain.scan(str(odd / name))
    frame_ids = _some(facts)
    theirs, count = frames_at(odd / name, frame_ids)
    assert facts.num_frames == count
    bar = 0 if name in ("closed.mp4", "long_group.mkv") else ROUNDING
    for frame_id, ours in zip(frame_ids, chain.decode(str(odd / name), facts, frame_ids), strict=True):
        assert largest_difference(ours, theirs[frame_id]) <= bar, f"frame {frame_id} by {chain.reader_of(facts).name}"


@pytest.mark.parametrize("name", ALL)
def test_seeking_finds_what_counting_from_the_start_does(odd, name):
    path = str(odd / name)
    facts = scan_video(path)
    plain = decode_from_the_start(path, facts, range(facts.num_frames))
    assert len(list(all_frames(path, facts))) == facts.num_frames
    for frame_ids in (
        _some(facts),
        [facts.num_frames - 1],
        list(range(facts.num_frames // 3, facts.num_frames, 7)) or [0],
    ):
        found = PyAVReader().decode(path, facts, frame_ids)
        assert (found == np.stack([plain[frame_id] for frame_id in frame_ids])).all()


@needs_decord
def test_each_kind_of_file_goes_to_a_reader_that_gets_it_right(odd):
    chain = ReaderChain(["decord", "pyav"])
    by_decord = {name for name in ALL if chain.reader_of(chain.scan(str(odd / name))).name == "decord"}
    assert by_decord == {
        *("closed.mp4", "long_group.mkv", "all_intra.mp4", "full_colour.mp4", "odd_size.mp4", "vp8.webm", "vp9.webm"),
        *("variable_rate.mp4", "interlaced.mp4", "fragmented.mp4", "no_b_frames.avi", "motion_jpeg.avi"),
        *("one_frame.mp4", "trimmed.mkv", *ROTATED),
    }


@pytest.mark.parametrize(
    ("name", "trait"),
    [
        ("open_group.mp4", Trait.OPEN_GOP),
        ("hevc_open.mp4", Trait.OPEN_GOP),
        ("trimmed.mp4", Trait.EDIT_LIST),
        ("variable_rate.mp4", Trait.VARIABLE_RATE),
        ("b_frames.avi", Trait.UNTIMED),
        ("no_container.h264", Trait.UNTIMED),
        (RESIZED, Trait.RESIZED),
    ],
)
def test_a_scan_tells_what_is_special(odd, name, trait):
    assert trait in scan_video(str(odd / name)).traits


def test_a_scan_tells_rate_and_size(odd):
    facts = scan_video(str(odd / "rotated_90.mp4"))
    assert (facts.width, facts.height, facts.fps, facts.num_frames) == (64, 96, 25.0, 75)
    assert (facts.codec, facts.container, facts.keyframe_interval) == ("h264", "mov", 12)
    assert scan_video(str(odd / "variable_rate.mp4")).times is not None


@pytest.mark.parametrize("reader", CROPPING)
def test_bytes_give_what_a_path_does(odd, reader):
    path = odd / "closed.mp4"
    facts = scan_video(path.read_bytes())
    assert facts == scan_video(str(path))
    frames = reader.decode(path.read_bytes(), facts, [3, 40])
    assert (frames == reader.decode(str(path), facts, [3, 40])).all()


@pytest.mark.parametrize("name", ["closed.mp4", "rotated_90.mp4", "rotated_180.mp4", "rotated_270.mp4"])
def test_a_crop_is_that_part_of_the_shown_frame(odd, name):
    path = str(odd / name)
    facts = scan_video(path)
    box = CropBox(8, 12, 40, 36)
    for reader in CROPPING:
        whole = reader.decode(path, facts, [10, 20])
        part = reader.decode(path, facts, [10, 20], box)
        assert part.shape == (2, 40, 36, 3)
        assert largest_difference(part, crop_resize(whole, box, None)) <= ROUNDING


@needs_decord
def test_a_resized_crop_looks_alike_by_either_reader(odd):
    path = str(odd / "closed.mp4")
    facts = scan_video(path)
    by_decord, by_pyav = (
        reader.decode(path, facts, [10, 30], CropBox(4, 6, 48, 72), (32, 48))
        for reader in (DecordReader(), PyAVReader())
    )
    assert by_decord.shape == by_pyav.shape == (2, 32, 48, 3)
    assert np.abs(by_decord.astype(int) - by_pyav).mean() < 8  # two kinds of bilinear: one smooths when it shrinks


def test_frames_may_be_asked_for_in_any_order_and_twice(odd):
    path = str(odd / "closed.mp4")
    facts = scan_video(path)
    for reader in CROPPING:
        frames = reader.decode(path, facts, [30, 2, 2, 70])
        assert (frames == reader.decode(path, facts, [2, 30, 70])[[1, 0, 0, 2]]).all()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "Invalid data|End of file"),
        (b"no video", "Invalid data|End of file|moov"),
        (None, "no such file"),
    ],
)
def test_what_is_no_video_is_said_in_a_sentence(tmp_path, content, sentence):
    if content is not None:
        (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(VideoError, match=sentence):
        ReaderChain().scan(str(tmp_path / "a.mp4"))


def test_a_file_without_pictures_is_named(tmp_path):
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=1", tmp_path / "sound.mp4")
    with pytest.raises(VideoError, match="the file has no video stream"):
        ReaderChain().scan(str(tmp_path / "sound.mp4"))


def test_a_cut_file_gives_its_good_frames_and_an_error_for_the_others(odd, tmp_path):
    run_ffmpeg("-i", odd / "long_group.mkv", "-c", "copy", "-movflags", "faststart", tmp_path / "whole.mp4")
    content = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    chain = ReaderChain()
    facts = chain.scan(str(tmp_path / "cut.mp4"))
    good = chain.decode(str(tmp_path / "cut.mp4"), facts, [0, 5])
    theirs, _ = frames_at(tmp_path / "whole.mp4", [0, 5])
    assert largest_difference(good, np.stack([theirs[0], theirs[5]])) == 0
    with pytest.raises(VideoError, match="; ".join(f"{reader.name}: .*" for reader in CROPPING)):
        chain.decode(str(tmp_path / "cut.mp4"), facts, [facts.num_frames - 1])


def test_frames_past_the_end_are_an_error(odd):
    facts = scan_video(str(odd / "b_frames.avi"))
    with pytest.raises(VideoError, match="frame 500 is past the last of 75 frames"):
        PyAVReader().decode(str(odd / "b_frames.avi"), facts, [500])


@pytest.mark.slow
@pytest.mark.parametrize("reader", [DecordReader(), PyAVReader(), TorchcodecReader()], ids=lambda reader: reader.name)
def test_many_opens_leave_neither_memory_nor_files_behind(odd, reader):
    if missing := reader.missing():
        pytest.skip(missing)
    path = str(odd / "closed.mp4")
    facts = scan_video(path)

    def open_often(times: int) -> None:
        for _ in range(times):
            reader.decode(path, facts, [0, 30])

    open_often(150)
    memory, files = _resident_bytes(), len(list(Path("/proc/self/fd").iterdir()))
    open_often(400)
    assert _resident_bytes() - memory < 20 * 2**20
    assert len(list(Path("/proc/self/fd").iterdir())) <= files


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def test_an_unknown_or_absent_reader_is_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"readers \(opencv\) must be some of decord, pyav, torchcodec"):
        ReaderChain(["opencv"])  # type: ignore[list-item]
    monkeypatch.setattr(TorchcodecReader, "missing", lambda self: "torchcodec is not installed")
    with pytest.raises(ValueError, match="no reader can be used: torchcodec: torchcodec is not installed"):
        ReaderChain(["torchcodec"])
    assert [reader.name for reader in ReaderChain(["torchcodec", "pyav"]).readers] == ["image", "pyav"]


def test_a_name_s_ending_does_not_matter(odd, tmp_path):
    shutil.copy(odd / "vp9.webm", tmp_path / "misnamed.mp4")
    chain = ReaderChain()
    facts = chain.scan(str(tmp_path / "misnamed.mp4"))
    frame = chain.decode(str(tmp_path / "misnamed.mp4"), facts, [20])[0]
    assert largest_difference(frame, list(ffmpeg_frames(odd / "vp9.webm"))[20]) <= ROUNDING


@needs_decord
def test_a_file_name_that_is_not_utf8_goes_to_a_reader_that_can_open_it(odd, tmp_path):
    name = os.fsdecode(bytes(tmp_path) + b"/caf\xe9.mp4")
    shutil.copy(odd / "closed.mp4", name)
    chain = ReaderChain(["decord", "pyav"])
    facts = chain.scan(name)
    with pytest.raises(VideoError):
        DecordReader().decode(name, facts, [0])
    plain = ReaderChain(["pyav"]).decode(str(odd / "closed.mp4"), facts, [0, 3])
    assert np.array_equal(chain.decode(name, facts, [0, 3]), plain)
