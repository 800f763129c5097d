"""Features of whole videos: windows cover them, files say what they hold, and what is done is not done again."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from tests.ffmpeg import ffmpeg_frames
from vjepa.data.clips.frame_sampling import FrameSampling
from vjepa.data.clips.sliding_windows import FRAMES_AT_ONCE, SlidingWindows, _stretches
from vjepa.data.video.encoding import encode_video
from vjepa.data.video.facts import VideoError, VideoFacts
from vjepa.data.video.reader import ReaderChain
from vjepa.data.video.transforms import crop_resize, view_boxes
from vjepa.evaluation.embedding import embedding
from vjepa.evaluation.embedding.embedding import embed_videos
from vjepa.evaluation.embedding.feature_file import read_features
from vjepa.evaluation.embedding.sources import videos_of
from vjepa.evaluation.embedding.window_encoder import WindowEncoder
from vjepa.interop.load_encoder import LoadedEncoder
from vjepa.interop.portable import Preprocessing
from vjepa.models import VideoEncoder

FPS = 10  # of the films


class Windows:
    """Counts the windows that an encoder is asked for."""

    def __init__(self, encoder: LoadedEncoder):
        self.count = 0
        encoder.register_forward_hook(self._add)

    def _add(self, module, inputs, output) -> None:
        self.count += len(output)


def tiny_encoder(seed: int = 0, class_token: bool = False) -> LoadedEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = VideoEncoder(embed_dim=24, depth=2, num_heads=2, tubelet=(2, 16, 16), class_token=class_token)
    return LoadedEncoder(encoder, Preprocessing(num_frames=4, crop_size=(32, 32), fps=5.0), "vjepa", "tiny")


def write_film(path: Path, num_frames: int, seed: int = 0) -> None:
    """Each frame has another brightness."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 60, (num_frames, 4, 5, 3))
    ramp = np.linspace(0, 190, num_frames).reshape(-1, 1, 1, 1)
    encode_video(path, (noise + ramp).astype(np.uint8).repeat(8, 1).repeat(8, 2), FPS)


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    """Three good films (12, 41 and 3 frames of 32 x 40) and a text."""
    folder = tmp_path_factory.mktemp("films")
    write_film(folder / "run/a.mp4", 12, seed=1)
    write_film(folder / "swim/b.mp4", 41, seed=2)
    write_film(folder / "short.mp4", 3, seed=3)
    (folder / "text.mp4").write_text("no video")
    return folder


def index(output: Path) -> dict[str, dict[str, str]]:
    """The lines of index.csv, by the name of the video."""
    with (output / "index.csv").open(newline="") as file:
        return {Path(row["path"]).name: row for row in csv.DictReader(file)}


def embed(source: Path, output: Path, seed: int = 0, **settings) -> int:
    """Embed, and say how many windows were encoded."""
    encoder = tiny_encoder(seed)
    windows = Windows(encoder)
    embed_videos([str(source)], encoder, output, **{"num_workers": 0, "accelerator": "cpu", **settings})
    return windows.count


@pytest.mark.parametrize("stride", [1.0, 0.5, 0.3])
@pytest.mark.parametrize("rate", [{"fps": 4.0}, {"frame_step": 3}, {"duration": 2.0}, {"fps": 60.0}])
@pytest.mark.parametrize("num_frames", [1, 7, 23, 24, 25, 200])
def test_windows_cover_the_whole_video(stride, rate, num_frames):
    facts = VideoFacts(num_frames=num_frames, fps=30.0, width=32, height=32)
    frames = FrameSampling(8, **rate)
    windows = SlidingWindows(frames, stride).of(facts, (0, num_frames))
    assert windows.frame_ids[0, 0] == windows.start_seconds[0] == 0
    assert windows.end_seconds[-1] == pytest.approx(num_frames / 30)
    assert (windows.start_seconds[1:] < windows.end_seconds[:-1] + 1 / 60).all()  # no frame lies between two windows
    assert (np.diff(windows.frame_ids[:, 0]) > 0).all()
    step = {"fps": 30 / rate.get("fps", 1), "frame_step": 3, "duration": 7.5}[next(iter(rate))]
    assert windows.frame_ids[-1, -1] >= num_frames - 1 - max(1, step)
    np.testing.assert_allclose(windows.start_seconds, windows.frame_ids[:, 0] / 30)


@pytest.mark.parametrize(
    ("num_frames", "first_ids"),
    [(16, [0]), (15, [0]), (17, [0, 2]), (32, [0, 16]), (33, [0, 16, 18]), (7, [0])],
)
def test_there_is_one_more_window_only_for_frames_that_are_in_none(num_frames, first_ids):
    facts = VideoFacts(num_frames=num_frames, fps=10.0, width=32, height=32)
    windows = SlidingWindows(FrameSampling(8, frame_step=2)).of(facts, (0, num_frames))
    assert windows.frame_ids[:, 0].tolist() == first_ids


def test_windows_start_as_far_apart_as_the_stride_says():
    facts = VideoFacts(num_frames=100, fps=10.0, width=32, height=32)
    windows = SlidingWindows(FrameSampling(4, fps=5.0), 0.5).of(facts, (0, 100))
    assert windows.frame_ids[:3].tolist() == [[0, 2, 4, 6], [4, 6, 8, 10], [8, 10, 12, 14]]
    np.testing.assert_allclose(windows.start_seconds[:3], [0, 0.4, 0.8])
    np.testing.assert_allclose(windows.end_seconds[:3], [0.8, 1.2, 1.6])


def test_windows_of_an_uneven_rate_go_by_time():
    times = np.cumsum([0.0, *[0.1] * 20, *[0.4] * 10]) + 7
    facts = VideoFacts(num_frames=31, fps=30 / 6, width=32, height=32, times=times)
    windows = SlidingWindows(FrameSampling(4, fps=2.5)).of(facts, (0, 31))
    assert windows.frame_ids[0].tolist() == [0, 4, 8, 12]
    assert windows.frame_ids[-1].tolist() == [27, 28, 29, 30]
    np.testing.assert_allclose(windows.start_seconds, times[windows.frame_ids[:, 0]] - 7)


def test_windows_stay_in_the_part_that_a_manifest_means():
    facts = VideoFacts(num_frames=100, fps=10.0, width=32, height=32)
    windows = SlidingWindows(FrameSampling(4, fps=5.0)).of(facts, (30, 55))
    assert (windows.frame_ids.min(), windows.frame_ids.max()) == (30, 54)
    assert (windows.start_seconds[0], windows.end_seconds[-1]) == (3.0, 5.5)


def test_fewer_windows_are_spread_over_the_video():
    facts = VideoFacts(num_frames=100, fps=10.0, width=32, height=32)
    frames = FrameSampling(4, fps=5.0)
    every = SlidingWindows(frames).of(facts, (0, 100)).frame_ids
    assert SlidingWindows(frames, 1.0, 3).of(facts, (0, 100)).frame_ids.tolist() == every[[0, 6, 12]].tolist()
    assert SlidingWindows(frames, 1.0, 1).of(facts, (0, 100)).frame_ids.tolist() == every[[6]].tolist()


def test_features_are_those_of_the_frames_at_their_times(films, tmp_path):
    encoder = tiny_encoder()
    embed(films, tmp_path, features="dense")
    arrays, metadata = read_features(tmp_path / "swim/b.mp4.safetensors")
    np.testing.assert_allclose(arrays["start_seconds"], [0, 0.8, 1.6, 2.4, 3.2, 3.4])
    np.testing.assert_allclose(arrays["end_seconds"], [0.8, 1.6, 2.4, 3.2, 4.0, 4.1])
    assert arrays["token_grid"].tolist() == [2, 2, 2]
    frames = np.stack(list(ffmpeg_frames(films / "swim/b.mp4")))[:, :, 4:36]
    for window, start in enumerate(arrays["start_seconds"]):
        ids = round(start * FPS) + np.arange(0, 8, 2)
        tokens = encoder(torch.from_numpy(frames[ids].transpose(3, 0, 1, 2).copy())[None])[0]
        np.testing.assert_allclose(arrays["features"][window], tokens, atol=0.02)  # decoders differ by a grey level
    assert json.loads(metadata["preprocessing"])["num_frames"] == 4
    assert (metadata["checkpoint"], metadata["windows"], metadata["seconds"]) == ("tiny", "6", "4.1")


def test_pooled_features_are_the_mean_of_dense_ones(films, tmp_path):
    embed(films, tmp_path / "dense", features="dense")
    embed(films, tmp_path / "pooled")
    dense, pooled = (read_features(tmp_path / kind / "run/a.mp4.safetensors").arrays for kind in ("dense", "pooled"))
    assert dense["features"].shape == (2, 8, 24)
    np.testing.assert_allclose(pooled["features"], dense["features"].mean(1), atol=1e-6)
    assert "token_grid" not in pooled


def test_an_embedding_is_the_class_token_of_an_encoder_that_has_one():
    encoder = tiny_encoder(class_token=True)
    network = WindowEncoder(encoder, encoder.preprocessing, "embedding", None, torch.device("cpu"), "32-true")
    clips = torch.randint(0, 255, (2, 3, 4, 32, 32), dtype=torch.uint8)
    assert network.window_shape == (24,)
    torch.testing.assert_close(network(clips)["features"], encoder.embed_clips(clips))
    with pytest.raises(ValueError, match="leave out levels"):
        WindowEncoder(encoder, encoder.preprocessing, "embedding", [0], torch.device("cpu"), "32-true")


def test_levels_are_written_one_by_one_and_the_last_is_the_output(films, tmp_path):
    embed(films, tmp_path / "levels", features="dense", levels=[1, 0])
    embed(films, tmp_path / "output", features="dense")
    levels = read_features(tmp_path / "levels/run/a.mp4.safetensors").arrays
    output = read_features(tmp_path / "output/run/a.mp4.safetensors").arrays
    assert sorted(levels) == ["end_seconds", "level_0", "level_1", "start_seconds", "token_grid"]
    np.testing.assert_allclose(levels["level_1"], output["features"], atol=1e-6)
    assert np.abs(levels["level_0"] - levels["level_1"]).max() > 0.01


def test_workers_batches_stretches_and_readers_change_nothing(films, tmp_path, monkeypatch):
    embed(films, tmp_path / "plain", stride=0.5)
    embed(films, tmp_path / "worker", stride=0.5, num_workers=1, batch_size=3)
    monkeypatch.setattr(embedding, "VIDEOS_AT_ONCE", 1)
    monkeypatch.setattr("vjepa.data.clips.sliding_windows.FRAMES_AT_ONCE", 6)
    embed(films, tmp_path / "stretches", stride=0.5, batch_size=100)
    monkeypatch.setattr("vjepa.data.clips.sliding_windows.DECODED_BYTES", 10_000)  # two frames
    embed(films, tmp_path / "reader", stride=0.5, readers=["decord", "pyav"])
    for name in ("run/a.mp4", "swim/b.mp4", "short.mp4"):
        plain = read_features(tmp_path / f"plain/{name}.safetensors").arrays
        for other in ("worker", "stretches", "reader"):
            arrays = read_features(tmp_path / f"{other}/{name}.safetensors").arrays
            assert sorted(arrays) == sorted(plain)
            for array, values in plain.items():
                np.testing.assert_allclose(arrays[array], values, atol=1e-5)


def test_a_long_video_is_decoded_in_stretches_of_few_frames():
    facts = VideoFacts(num_frames=3600 * 30, fps=30.0, width=32, height=32)
    frame_ids = SlidingWindows(FrameSampling(16, fps=4.0), 0.5).of(facts, (0, facts.num_frames)).frame_ids
    stretches = _stretches(frame_ids)
    assert [first for first, _ in stretches] == [0, *(stop for _, stop in stretches[:-1])]
    assert stretches[-1][1] == len(frame_ids) == 1799
    assert max(len(np.unique(frame_ids[first:stop])) for first, stop in stretches) <= FRAMES_AT_ONCE


def test_a_file_that_cannot_be_read_is_named_and_left_out(films, tmp_path, capsys):
    embed(films, tmp_path)
    rows = index(tmp_path)
    assert {name: row["status"] for name, row in rows.items()} == {
        "a.mp4": "done",
        "b.mp4": "done",
        "short.mp4": "done",
        "text.mp4": "failed",
    }
    assert rows["text.mp4"]["reason"] and not rows["text.mp4"]["output"]
    assert (rows["b.mp4"]["output"], rows["b.mp4"]["windows"]) == ("swim/b.mp4.safetensors", "6")
    assert rows["b.mp4"]["seconds"] == "4.1"
    said = capsys.readouterr().out
    assert f"could not be read: 1, the first is {films / 'text.mp4'}" in said
    assert "3 of 4 videos with 9 windows, 0 of them kept from before" in said
    assert not list(tmp_path.glob("**/.*"))


def test_a_video_that_breaks_off_halfway_leaves_no_file(films, tmp_path, monkeypatch):
    decode, calls = ReaderChain.decode, []

    def breaking(self, source, facts, frame_ids, *rest):
        calls.append(frame_ids)
        if source.endswith("b.mp4") and frame_ids[-1] > 20:
            raise VideoError("it breaks off")
        return decode(self, source, facts, frame_ids, *rest)

    monkeypatch.setattr(ReaderChain, "decode", breaking)
    monkeypatch.setattr("vjepa.data.clips.sliding_windows.FRAMES_AT_ONCE", 4)
    embed(films, tmp_path, batch_size=2)
    row = index(tmp_path)["b.mp4"]
    assert (row["status"], row["reason"], row["windows"]) == ("failed", "it breaks off", "")
    assert not (tmp_path / "swim").exists()
    assert len(calls) == 2 + 1 + 3  # a's two windows, the short one's, and b's until it breaks off


def test_a_second_call_keeps_what_is_done(films, tmp_path, capsys):
    assert embed(films, tmp_path) == 9
    first = index(tmp_path)
    assert embed(films, tmp_path) == 0
    assert "3 of 4 videos with 9 windows, 3 of them kept" in capsys.readouterr().out
    assert index(tmp_path) == first
    (tmp_path / "run/a.mp4.safetensors").write_bytes(b"cut short")
    assert embed(films, tmp_path, batch_size=2) == 2  # a's
    assert read_features(tmp_path / "run/a.mp4.safetensors").arrays["features"].shape == (2, 24)


@pytest.mark.parametrize(
    "change",
    [
        {"stride": 0.5},
        {"fps": 2.5},
        {"features": "dense"},
        {"levels": [1]},
        {"crop_size": (16, 16)},
        {"max_windows": 1},
    ],
)
def test_other_settings_make_features_anew(films, tmp_path, change):
    embed(films, tmp_path)
    before = read_features(tmp_path / "run/a.mp4.safetensors")
    embed(films, tmp_path, **change)
    after = read_features(tmp_path / "run/a.mp4.safetensors")
    assert after.metadata["settings"] != before.metadata["settings"]


def test_other_weights_and_other_videos_make_features_anew(films, tmp_path):
    write_film(tmp_path / "videos/a.mp4", 12)
    write_film(tmp_path / "videos/b.mp4", 12)
    output = tmp_path / "features"
    assert embed(tmp_path / "videos", output) == 4
    write_film(tmp_path / "videos/a.mp4", 20)
    assert embed(tmp_path / "videos", output) == 3
    assert embed(tmp_path / "videos", output, seed=1) == 5


@pytest.mark.parametrize("kind", ["safetensors", "npz"])
def test_a_video_that_was_replaced_by_one_of_its_size_is_embedded_anew(tmp_path, kind):
    video, output = tmp_path / "videos" / "a.mp4", tmp_path / "features"
    for num_frames, num_windows in ((12, 2), (20, 3)):
        write_film(video, num_frames)
        video.write_bytes(video.read_bytes().ljust(20_000, b"\0"))
        os.utime(video, (1e9 - num_frames, 1e9 - num_frames))  # the second one is the older file, moved here
        assert embed(video.parent, output, format=kind) == num_windows
        assert len(read_features(output / f"a.mp4.{kind}").arrays["features"]) == num_windows
        assert embed(video.parent, output, format=kind) == 0


def test_files_of_an_older_version_are_kept_while_they_are_newer_than_their_video(tmp_path, monkeypatch):
    video, output = tmp_path / "videos" / "a.mp4", tmp_path / "features"
    write_film(video, 12)
    embed(video.parent, output)
    plain = embedding.read_metadata

    def older(path: Path) -> dict[str, str]:
        return {name: value for name, value in plain(path).items() if name != "modified"}

    monkeypatch.setattr(embedding, "read_metadata", older)
    assert embed(video.parent, output) == 0
    later = (output / "a.mp4.safetensors").stat().st_mtime + 1
    os.utime(video, (later, later))
    assert embed(video.parent, output) == 2


def test_formats_hold_the_same(films, tmp_path):
    for kind in ("safetensors", "npz"):
        for _ in range(2):
            again = embed(films, tmp_path / kind, format=kind, features="dense", dtype="float16")
        assert again == 0  # kept
    ours, theirs = (read_features(tmp_path / kind / f"swim/b.mp4.{kind}") for kind in ("safetensors", "npz"))
    assert ours.metadata == theirs.metadata
    assert sorted(ours.arrays) == sorted(theirs.arrays)
    for name, values in ours.arrays.items():
        np.testing.assert_array_equal(theirs.arrays[name], values)
        assert theirs.arrays[name].dtype == values.dtype
    assert ours.arrays["features"].dtype == np.float16
    with safe_open(tmp_path / "safetensors/swim/b.mp4.safetensors", "pt") as file:  # any reader of the format takes it
        assert file.get_slice("features")[2:4].shape == (2, 8, 24)


def test_rows_with_times_have_files_of_their_own(films, tmp_path):
    (tmp_path / "parts.csv").write_text(
        f"path,start,end\n{films}/swim/b.mp4,1,2.5\n{films}/swim/b.mp4,2.5,\n{films}/swim/b.mp4,,\nswim/b.mp4,,\n"
    )
    found = videos_of([str(tmp_path / "parts.csv")], root=str(films))
    assert list(found) == ["swim/b.mp4.1.0s-2.5s", "swim/b.mp4.2.5s-end", "swim/b.mp4"]
    embed(tmp_path / "parts.csv", tmp_path / "out", root=str(films))
    arrays = read_features(tmp_path / "out/swim/b.mp4.1.0s-2.5s.safetensors").arrays
    assert (arrays["start_seconds"][0], arrays["end_seconds"][-1]) == (1.0, 2.5)


def test_equal_names_of_two_folders_do_not_meet(films, tmp_path):
    found = videos_of([str(films / "run"), str(films / "run/a.mp4"), str(films / "swim/b.mp4")])
    assert list(found) == ["a.mp4", "b.mp4"]
    write_film(tmp_path / "a.mp4", 4)
    found = videos_of([str(films / "run"), str(tmp_path / "a.mp4")])
    assert list(found) == ["a.mp4", str(tmp_path / "a.mp4").lstrip("/")]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stride": 0.0}, r"stride \(0.0\) must be more than 0; 1 is back to back"),
        ({"max_windows": 0}, r"max_windows \(0\) must be at least 1"),
        ({"batch_size": 0}, r"batch_size \(0\) must be at least 1"),
        ({"num_frames": 5}, r"num_frames \(5\) must be a multiple of the tubelet's num_frames \(2\); try 4"),
        ({"crop_size": (32, 30)}, r"width \(30\) must be a multiple"),
        ({"fps": 4.0, "frame_step": 2.0}, "give exactly one of"),
        ({"levels": [2]}, r"levels \[2\] do not exist; this encoder has levels 0 to 1"),
    ],
)
def test_settings_that_do_not_fit_are_named_before_work_starts(films, tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        embed(films, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_feature_file_is_named(tmp_path):
    (tmp_path / "a.safetensors").write_text("text")
    np.savez(tmp_path / "b.npz", features=np.zeros(3))
    for name in ("a.safetensors", "b.npz"):
        with pytest.raises(ValueError, match=f"{name} is no feature file"):
            read_features(tmp_path / name)
    with pytest.raises(ValueError, match="there is no feature file"):
        read_features(tmp_path / "none.npz")


def test_an_image_is_one_window_without_length(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (40, 48, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    embed(tmp_path / "a.png", tmp_path / "out", features="dense", crop_size=(32, 32))
    arrays = read_features(tmp_path / "out/a.png.safetensors").arrays
    assert arrays["start_seconds"].tolist() == arrays["end_seconds"].tolist() == [0]
    frame = crop_resize(picture[None], view_boxes((40, 48), 1.0, 1)[0], (32, 32))[0]
    tokens = tiny_encoder()(torch.from_numpy(frame).permute(2, 0, 1)[None, :, None].repeat(1, 1, 4, 1, 1))
    np.testing.assert_allclose(arrays["features"], tokens, atol=1e-5)


def test_a_name_that_is_no_text_is_embedded(films, tmp_path):
    path = tmp_path / os.fsdecode(b"videos/caf\xe9.mp4")
    path.parent.mkdir()
    shutil.copy(films / "run/a.mp4", path)
    assert embed(path.parent, tmp_path / "out") == 2
    assert embed(path.parent, tmp_path / "out") == 0
    (file,) = (tmp_path / "out").glob("*.safetensors")
    assert os.fsencode(file.name) == b"caf\xe9.mp4.safetensors"
    assert read_features(file).metadata["video"].endswith("caf\ufffd.mp4")


def test_an_interrupted_call_leaves_only_what_is_done(films, tmp_path, monkeypatch):
    """Ctrl-C in mid-run: what was done stays, what was begun leaves nothing."""

    def stop(self, windows):
        raise KeyboardInterrupt

    embed(films / "run", tmp_path)
    monkeypatch.setattr(embedding.Embedding, "_encode", stop)
    with pytest.raises(KeyboardInterrupt):
        embed(films, tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.mp4.safetensors", "index.csv"]
