"""Frames of every reader are those of the ffmpeg command, on the kinds of file that readers get wrong."""

import os
import shutil
import struct
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

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


# --- more than 8 bits

RAMP = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (16, 1))
COLOURS = np.stack([RAMP, RAMP[:, ::-1], RAMP], axis=-1)
RAMP_IN_8_BITS = np.round(RAMP / 257).astype(np.uint8)


def write_tiff(file: Path, pixels: np.ndarray, bits: int = 16, **tags: int) -> None:
    """Uncompressed, in the byte order of the pixels; the tag MaxSampleValue etc. by number."""
    order = ">" if pixels.dtype.byteorder == ">" else "<"
    height, width, *channels = pixels.shape
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    fields = {256: width, 257: height, 258: bits, 259: 1, 262: 2 if channels else 1, 273: 8, 277: (channels or [1])[0]}
    fields |= {278: height, 279: pixels.nbytes, 339: kind} | {int(tag[1:]): value for tag, value in tags.items()}
    content = pixels.tobytes()
    shorts = np.full(3, bits, f"{order}u2").tobytes() if channels else b""
    if channels:
        del fields[339]
    entries = b""
    for tag, value in sorted(fields.items()):
        count = 3 if channels and tag == 258 else 1
        entries += struct.pack(f"{order}HHII", tag, 4, 1, value) if count == 1 else b""
        entries += struct.pack(f"{order}HHII", tag, 3, 3, 8 + len(content)) if count == 3 else b""
    header = struct.pack(f"{order}2sHI", b"MM" if order == ">" else b"II", 42, 8 + len(content) + len(shorts))
    file.write_bytes(header + content + shorts + struct.pack(f"{order}H", len(fields)) + entries + bytes(4))


def write_png(file: Path, pixels: np.ndarray) -> None:
    """16 bits, grey or RGB."""
    height, width = pixels.shape[:2]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 0 if pixels.ndim == 2 else 2, 0, 0, 0)
    with file.open("wb") as png:
        png.write(b"\x89PNG\r\n\x1a\n")
        for name, content in ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")):
            png.write(struct.pack(">I", len(content)) + name + content)
            png.write(struct.pack(">I", zlib.crc32(name + content)))


def twelve_bits_packed(pixels: np.ndarray) -> np.ndarray:
    first, second = (pixels >> 4).reshape(-1, 2).T
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1)
    return packed.astype(np.uint8)


def write_deep(folder: Path, name: str) -> str:
    file = folder / name
    kind = file.stem
    if kind == "grey16" and file.suffix == ".ppm":
        file.write_bytes(b"P5 64 16 65535\n" + RAMP.astype(">u2").tobytes())
    elif kind == "grey12" and file.suffix == ".ppm":
        file.write_bytes(b"P5 64 16 4095\n" + (RAMP >> 4).astype(">u2").tobytes())
    elif kind == "grey16" and file.suffix == ".png":
        write_png(file, RAMP)
    elif kind == "grey16_lzw":
        Image.fromarray(RAMP).save(file, compression="tiff_lzw")
    elif kind == "grey16_big_endian":
        write_tiff(file, RAMP.astype(">u2"))
    elif kind == "grey16":
        write_tiff(file, RAMP)
    elif kind == "grey16_white_is_0":
        write_tiff(file, RAMP.max() - RAMP, _262=0)
    elif kind == "grey12_declared":
        write_tiff(file, RAMP >> 4, _281=4095)
    elif kind == "float":
        write_tiff(file, (RAMP / 65535).astype(np.float32), 32)
    elif kind == "float_big_endian":
        write_tiff(file, (RAMP / 65535).astype(">f4"), 32)
    return str(file)


DEEP = ("grey16.png", "grey16.tif", "grey16_big_endian.tif", "grey16_lzw.tif", "grey16_white_is_0.tif")
DEEP += ("grey12_declared.tif", "float.tif", "float_big_endian.tiff", "grey16.ppm", "grey12.ppm")


@pytest.mark.parametrize("name", DEEP)
def test_grey_of_more_than_8_bits_is_scaled_by_its_depth(tmp_path, name):
    chain, path = ReaderChain(), write_deep(tmp_path, name)
    facts = chain.scan(path)
    assert facts.pixel_format == ("grayf32" if "float" in name else "gray16")
    [frame] = chain.decode(path, facts, [0])
    assert largest_difference(frame, RAMP_IN_8_BITS[..., None].repeat(3, axis=2)) <= 1


def test_packed_12_bits_are_scaled_by_their_depth(tmp_path):
    packed = twelve_bits_packed(RAMP)
    write_tiff(tmp_path / "a.tif", RAMP, 12)
    content = (tmp_path / "a.tif").read_bytes()  # the packed pixels in place of the others, which are longer
    (tmp_path / "a.tif").write_bytes(
        content[:8] + packed.tobytes().ljust(RAMP.nbytes, b"\0") + content[8 + RAMP.nbytes :]
    )
    facts = ReaderChain().scan(str(tmp_path / "a.tif"))
    assert facts.pixel_format == "gray12"
    [frame] = ReaderChain().decode(str(tmp_path / "a.tif"), facts, [0])
    assert largest_difference(frame, RAMP_IN_8_BITS[..., None].repeat(3, axis=2)) <= 1


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_colours_of_16_bits_are_right(tmp_path, name):
    (write_png if name == "a.png" else write_tiff)(tmp_path / name, COLOURS)
    facts = ReaderChain().scan(str(tmp_path / name))
    [frame] = ReaderChain().decode(str(tmp_path / name), facts, [0])
    assert largest_difference(frame, np.round(COLOURS / 257).astype(np.uint8)) <= 1 and facts.pixel_format == "rgb48"


@pytest.mark.parametrize("write", [write_png, write_tiff])
@pytest.mark.parametrize("pixels", [RAMP >> 4, RAMP >> 6, COLOURS >> 4])
def test_fewer_bits_in_a_file_of_16_are_refused_and_not_read_as_black(tmp_path, write, pixels):
    write(tmp_path / "a.png", pixels)
    with pytest.raises(
        VideoError, match=r"its values reach \d+ of 65535, which would be almost black: are they of few"
    ):
        ReaderChain().scan(str(tmp_path / "a.png"))


@pytest.mark.parametrize(
    ("pixels", "bits", "sentence"),
    [
        (RAMP.astype(np.float32), 32, "grey values from 0 to 65535 are not in the range from 0 to 1 of grayf32"),
        ((RAMP / 65535 - 0.5).astype(np.float32), 32, "grey values from -0.5 to 0.5 are not in the range from 0 to 1"),
        (
            np.where(RAMP > 60000, np.nan, 0.5).astype(np.float32),
            32,
            "grey values from nan to nan are not in the range",
        ),
        ((RAMP / 6553500).astype(np.float32), 32, "its values reach 0.01 of 1, which would be almost black"),
        ((RAMP >> 1).astype(np.int16), 16, "grey values stored as I;16S have no usual range; write it in 8 or 16 bits"),
        (RAMP.astype(np.int32), 32, "grey values stored as I;32S have no usual range"),
    ],
)
def test_grey_of_no_known_range_is_refused(tmp_path, pixels, bits, sentence):
    write_tiff(tmp_path / "a.tif", pixels, bits)
    with pytest.raises(VideoError, match=sentence):
        ReaderChain().scan(str(tmp_path / "a.tif"))


def test_planes_of_16_bits_are_refused(tmp_path):
    write_tiff(tmp_path / "a.tif", COLOURS, t284=2)  # Pillow takes them for 8 bits
    with pytest.raises(VideoError, match="its planes of more than 8 bits can't be read; write the colours of a pixel"):
        ReaderChain().scan(str(tmp_path / "a.tif"))


def test_a_black_picture_is_black_at_any_depth(tmp_path):
    for pixels, bits in ((np.zeros_like(RAMP), 16), (np.zeros(RAMP.shape, np.float32), 32)):
        write_tiff(tmp_path / "a.tif", pixels, bits)
        facts = ReaderChain().scan(str(tmp_path / "a.tif"))
        assert not ReaderChain().decode(str(tmp_path / "a.tif"), facts, [0]).any()


@pytest.mark.parametrize("kind", ["1", "L", "P", "RGBA", "LA"])
def test_images_of_8_bits_and_fewer_are_as_before(tmp_path, kind):
    image = Image.fromarray(RAMP_IN_8_BITS).convert("RGB").convert(kind)
    image.save(tmp_path / "a.png")
    facts = ReaderChain().scan(str(tmp_path / "a.png"))
    [frame] = ReaderChain().decode(str(tmp_path / "a.png"), facts, [0])
    assert facts.pixel_format == "" and (frame == np.asarray(image.convert("RGB"))).all()


@pytest.mark.parametrize("turned", [1, 3, 6])
@pytest.mark.parametrize("kind", ["u1", "<u2", ">u2"])
def test_grey_tiff_is_upright(tmp_path, turned, kind):
    pixels = RAMP_IN_8_BITS if kind == "u1" else RAMP.astype(kind)
    write_tiff(tmp_path / "a.tif", pixels, 8 * pixels.itemsize, _274=turned)
    facts = ReaderChain().scan(str(tmp_path / "a.tif"))
    [frame] = ReaderChain().decode(str(tmp_path / "a.tif"), facts, [0])
    upright = {1: RAMP_IN_8_BITS, 3: RAMP_IN_8_BITS[::-1, ::-1], 6: np.rot90(RAMP_IN_8_BITS, -1)}[turned]
    assert largest_difference(frame, upright[..., None].repeat(3, axis=2)) <= 1


@pytest.mark.parametrize("first", ["decord", "pyav", "torchcodec"])
@pytest.mark.parametrize("pixel_format", ["gray10le", "gray12le", "gray16le", "yuv420p10le", "yuv444p12le", "gbrp10le"])
def test_video_of_more_than_8_bits_is_scaled_by_its_depth(tmp_path, pixel_format, first):
    if first == "torchcodec" and (missing := TorchcodecReader().missing()):
        pytest.skip(missing)
    file = tmp_path / "a.mkv"
    run_ffmpeg(*SOURCE[:3], "testsrc2=size=96x64:duration=0.2", "-pix_fmt", pixel_format, "-c:v", "ffv1", file)
    chain = ReaderChain([first, "pyav"])
    facts = chain.scan(str(file))
    theirs, _ = frames_at(file, [2])
    [frame] = chain.decode(str(file), facts, [2])
    assert largest_difference(frame, theirs[2]) <= ROUNDING and frame.max() > 200


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
