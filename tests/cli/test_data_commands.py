"""`vjepa manifest`, `doctor` and `transcode`, as a user runs them."""

import csv
import os
import shutil
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.ffmpeg import ffmpeg_frames, run_ffmpeg
from vjepa.cli.main import main
from vjepa.data.manifest import killable_pool
from vjepa.data.manifest.manifest import read_manifest
from vjepa.data.video.decord_reader import DecordReader
from vjepa.data.video.encoding import encode_video
from vjepa.data.video.facts import Trait, scan_video
from vjepa.data.video.pyav_reader import all_frames

X264 = ("-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "veryfast")


def source(seconds: float = 2, size: str = "96x64", rate: int = 25, seed: int = 1) -> tuple[str, ...]:
    """A moving picture of its own for each seed, with grain."""
    colours = f"gradients=s={size}:rate={rate}:seed={seed}:nb_colors=6:speed=0.05:type={seed % 3}"
    return ("-f", "lavfi", "-i", f"{colours},noise=all_seed={seed}:alls=20:allf=t", "-t", str(seconds))


def write_film(path: Path, seed: int, num_frames: int = 50) -> None:
    """Blocks of colour that drift, other ones for each seed."""
    blocks = np.random.default_rng(seed).integers(0, 255, (8, 24, 3), dtype=np.uint8)
    wide = cv2.resize(blocks, (288, 64), interpolation=cv2.INTER_CUBIC)
    encode_video(path, np.stack([wide[:, 2 * k : 2 * k + 96] for k in range(num_frames)]), 25)


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    """Good films of two classes, a copy of one in another size, a cut one, a one-frame one, a text."""
    folder = tmp_path_factory.mktemp("films")
    for name, seed in (("run/a.mp4", 1), ("run/b.mp4", 2), ("swim/c.mp4", 3)):
        (folder / name).parent.mkdir(exist_ok=True)
        write_film(folder / name, seed)
    run_ffmpeg(
        "-i", folder / "run/a.mp4", "-vf", "scale=64:48", "-c:v", "mpeg4", "-q:v", "4", folder / "swim/a_again.avi"
    )
    content = (folder / "run/b.mp4").read_bytes()
    (folder / "run/cut.mp4").write_bytes(content[: len(content) * 2 // 3])
    write_film(folder / "swim/short.mp4", 4, num_frames=1)
    (folder / "swim/text.mp4").write_text("no video")
    return folder


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def test_a_manifest_of_a_folder_tells_what_each_file_is(films, tmp_path, capsys):
    main(["manifest", str(films), f"--output={tmp_path / 'list.csv'}", "--num_workers=2"])
    said = capsys.readouterr().out
    assert "list.csv: 6 files" in said and "list.unreadable.csv: 1 files that can't be read" in said
    manifest = read_manifest(tmp_path / "list.csv")
    assert manifest.label_names == ["run", "swim"] and len(manifest) == 6
    for row, path in enumerate(manifest.paths):
        assert manifest.facts(row) == scan_video(path)
    [unreadable] = rows(tmp_path / "list.unreadable.csv")
    assert unreadable["path"].endswith("text.mp4") and unreadable["reason"]
    by_path = {Path(row["path"]).name: row for row in rows(tmp_path / "list.csv")}
    assert (by_path["a.mp4"]["frames"], by_path["a.mp4"]["duration"], by_path["a.mp4"]["reader"]) == (
        "50",
        "2.000",
        "pyav" if DecordReader().missing() else "decord",
    )


def test_a_manifest_beside_its_files_holds_relative_paths(films, tmp_path):
    shutil.copytree(films / "run", tmp_path / "data" / "run")
    main(["manifest", str(tmp_path / "data"), f"--output={tmp_path / 'data' / 'list.csv'}"])
    assert [row["path"] for row in rows(tmp_path / "data" / "list.csv")] == ["run/a.mp4", "run/b.mp4", "run/cut.mp4"]
    (tmp_path / "data").rename(tmp_path / "moved")
    assert all(Path(path).exists() for path in read_manifest(tmp_path / "moved" / "list.csv").paths)


def test_a_manifest_of_a_folder_below_the_root_is_relative_to_the_root(films, tmp_path, monkeypatch):
    for flags in ((f"--root={films}",), ()):
        if not flags:
            monkeypatch.setenv("VJEPA_DATA", str(films))
        out = tmp_path / "list.csv"
        main(["manifest", str(films / "run"), f"--output={out}", *flags])
        if flags:
            assert rows(out)[0]["path"] == "run/a.mp4"
        assert read_manifest(out, root=films if flags else None).paths[0] == str(films / "run" / "a.mp4")


def test_a_parquet_manifest_is_the_csv_one(films, tmp_path):
    pytest.importorskip("pyarrow")
    for name in ("list.csv", "list.parquet"):
        main(["manifest", str(films / "run"), f"--output={tmp_path / name}"])
    ours, theirs = (read_manifest(tmp_path / name) for name in ("list.parquet", "list.csv"))
    assert ours.paths == theirs.paths and [ours.facts(k) for k in range(3)] == [theirs.facts(k) for k in range(3)]


def test_the_doctor_finds_what_is_wrong_and_leaves_a_clean_list(films, tmp_path, capsys):
    main(["doctor", str(films), f"--output={tmp_path}", "--decode=all"])
    report = (tmp_path / "report.md").read_text()
    assert report in capsys.readouterr().out
    found = {Path(row["path"]).name: row["findings"] for row in rows(tmp_path / "files.csv")}
    assert "Can't be read" in found["text.mp4"]
    assert "Break off or can't be decoded" in found["cut.mp4"]
    assert "Too short: 1 frames" in found["short.mp4"]
    assert "Look like another file" in found["a_again.avi"] and "a.mp4" in found["a_again.avi"]
    assert found["c.mp4"] == ""
    clean = read_manifest(tmp_path / "clean.csv")
    assert {Path(path).name for path in clean.paths} == {"a.mp4", "b.mp4", "c.mp4", "a_again.avi"}
    assert clean.label_names == ["run", "swim"] and clean.facts(0) is not None
    assert "frames per second and core" in report and "7 files, 6 readable" in report


def test_the_doctor_finds_probe_videos_among_the_training_ones(films, tmp_path):
    probe = tmp_path / "probe"
    probe.mkdir()
    run_ffmpeg("-i", films / "swim/c.mp4", "-vf", "scale=128:88", "-crf", "30", *X264, probe / "renamed.mp4")
    write_film(probe / "new.mp4", seed=9)
    main(["doctor", str(films), f"--output={tmp_path / 'out'}", f"--against={probe}"])
    found = {Path(row["path"]).name: row["findings"] for row in rows(tmp_path / "out" / "files.csv")}
    assert "renamed.mp4" in found["c.mp4"] and "Also in the list" in found["c.mp4"]
    assert all("Also in the list" not in findings for name, findings in found.items() if name != "c.mp4")
    assert "c.mp4" not in {Path(path).name for path in read_manifest(tmp_path / "out" / "clean.csv").paths}


def test_dropping_duplicates_keeps_the_first(films, tmp_path):
    main(["doctor", str(films), f"--output={tmp_path}", "--drop_duplicates=true"])
    kept = {Path(path).name for path in read_manifest(tmp_path / "clean.csv").paths}
    assert "a.mp4" in kept and "a_again.avi" not in kept


@pytest.fixture(scope="module")
def troubled(tmp_path_factory) -> Path:
    """Films that decoders get wrong."""
    folder = tmp_path_factory.mktemp("troubled")
    run_ffmpeg(*source(4, "192x128"), *X264, "-g", "250", folder / "long.mp4")
    run_ffmpeg("-ss", "1.3", "-i", folder / "long.mp4", "-c", "copy", folder / "trimmed.mp4")
    run_ffmpeg(*source(2), *X264, "-g", "12", "-x264-params", "open-gop=1:scenecut=0", folder / "open.mp4")
    uneven = "setpts='if(lt(N,30),N,30+(N-30)*2.5)/25/TB'"
    run_ffmpeg(
        *source(2),
        "-vf",
        uneven,
        "-fps_mode",
        "passthrough",
        "-video_track_timescale",
        "12800",
        *X264,
        folder / "uneven.mp4",
    )
    run_ffmpeg(*source(2), "-c:v", "mpeg4", "-bf", "2", folder / "b_frames.avi")
    run_ffmpeg("-display_rotation", "90", "-i", folder / "open.mp4", "-c", "copy", folder / "turned.mp4")
    return folder


@pytest.mark.slow
def test_copies_keep_frames_and_order_and_hold_no_trouble(troubled, tmp_path):
    main(["transcode", str(troubled), f"--output={tmp_path}", "--short_side=64", "--crf=10"])
    manifest = read_manifest(tmp_path / "manifest.csv")
    assert len(manifest) == 6
    for original in troubled.iterdir():
        copy = str(tmp_path / f"{original.stem}.mp4")
        before, after = scan_video(str(original)), scan_video(copy)
        assert after.num_frames == before.num_frames
        assert after.traits == {Trait.REORDERED} or after.num_frames == 1
        assert after.keyframe_interval == 16 and after.codec == "h264" and not any(after.orientation)
        assert min(after.width, after.height) == 64 and (after.width > after.height) == (before.width > before.height)
        assert after.fps == pytest.approx(before.fps, rel=1e-3)
        theirs = [_small(frame, after) for frame in ffmpeg_frames(original)]
        ours = [_small(frame, after) for frame in all_frames(copy, after)]
        for number in range(0, before.num_frames, 5):
            distances = [np.abs(ours[number] - frame).mean() for frame in theirs]
            assert distances[number] <= min(distances) + 0.5, f"frame {number} of {original.name}"


def _small(frame: np.ndarray, facts) -> np.ndarray:
    return cv2.resize(frame, (facts.width, facts.height), interpolation=cv2.INTER_AREA).astype(np.float32)


def test_copies_may_have_a_rate_of_their_own(troubled, tmp_path):
    main(["transcode", str(troubled), f"--output={tmp_path}", "--fps=10"])
    for name in ("uneven", "long"):
        before, after = scan_video(str(troubled / f"{name}.mp4")), scan_video(str(tmp_path / f"{name}.mp4"))
        assert after.fps == 10 and after.num_frames == pytest.approx(before.duration * 10, abs=1)


def test_an_interrupted_copying_goes_on_and_bad_files_are_listed(films, tmp_path, capsys):
    main(["transcode", str(films), f"--output={tmp_path}"])
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.mp4")}
    assert {Path(row["path"]).name for row in rows(tmp_path / "failed.csv")} == {"text.mp4", "cut.mp4"}
    assert {path.name for path in times} == {"a.mp4", "b.mp4", "c.mp4", "a_again.mp4", "short.mp4"}
    (tmp_path / "run" / "a.mp4").unlink()
    main(["transcode", str(films), f"--output={tmp_path}"])
    kept = {path for path, time in times.items() if path.stat().st_mtime_ns == time}
    assert kept == set(times) - {tmp_path / "run" / "a.mp4"}
    assert len(read_manifest(tmp_path / "manifest.csv")) == 5


def test_a_manifest_can_t_take_the_name_of_a_folder(films, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["manifest", str(films / "run" / "a.mp4"), f"--output={tmp_path}"])
    assert exit_.value.code == 2
    assert (
        f"{tmp_path} is a folder; the manifest is a file in it, such as {tmp_path}/manifest.csv"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("command", ["doctor", "transcode"])
def test_a_folder_can_t_take_the_name_of_a_file(films, tmp_path, capsys, command):
    (tmp_path / "out").touch()
    with pytest.raises(SystemExit) as exit_:
        main([command, str(films / "run" / "a.mp4"), f"--output={tmp_path / 'out'}"])
    assert exit_.value.code == 2
    assert f"{tmp_path / 'out'}: File exists; give a folder that can be written" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["manifest", "doctor", "transcode"])
def test_commands_take_a_single_video(films, tmp_path, monkeypatch, command):
    monkeypatch.chdir(films / "run")
    output = {"manifest": tmp_path / "list.csv"}.get(command, tmp_path)
    main([command, "a.mp4", f"--output={output}"])
    listed = {"manifest": "list.csv", "doctor": "clean.csv", "transcode": "manifest.csv"}[command]
    [path] = read_manifest(tmp_path / listed).paths
    assert Path(path).name == "a.mp4" and scan_video(path).num_frames == 50


def test_an_original_that_was_replaced_is_copied_again(tmp_path):
    original, copy = tmp_path / "films" / "a.mp4", tmp_path / "copies" / "a.mp4"
    original.parent.mkdir()
    for num_frames in (10, 14):
        write_film(original, 1, num_frames)
        main(["transcode", str(original.parent), f"--output={copy.parent}"])
        assert scan_video(str(copy)).num_frames == num_frames


def test_the_doctor_names_parts_that_are_not_there_and_files_that_were_replaced(tmp_path, capsys):
    film, listing = tmp_path / "a.mp4", tmp_path / "list.csv"
    write_film(film, 1)  # 2 seconds
    listing.write_text("path,start,end\na.mp4,0,1\na.mp4,0.5,7000\na.mp4,2.5,3\n")
    main(["manifest", str(listing), f"--output={tmp_path / 'scanned.csv'}", f"--root={tmp_path}"])
    assert "1 rows are parts after a file's end, the first of a.mp4" in capsys.readouterr().out
    write_film(film, 1, num_frames=45)
    main(["doctor", str(tmp_path / "scanned.csv"), f"--root={tmp_path}", f"--output={tmp_path / 'out'}"])
    findings = [row["findings"] for row in rows(tmp_path / "out" / "files.csv")]
    changed = "listed with 50 frames of 96x64 at 25 fps, has 45 frames of 96x64 at 25 fps"
    assert all(f"Not as the manifest has them: {changed}" in each for each in findings)
    assert "Shorter than their part: ends at 1.800 s, and the part at 7000 s" in findings[1]
    assert "Their part is not in the file: its part starts at 2.5 s, and the file ends at 1.800 s" in findings[2]
    clean = read_manifest(tmp_path / "out" / "clean.csv")
    assert [clean.window(row) for row in range(2)] == [(0.0, 1.0), (0.5, 7000.0)] and len(clean) == 2
    assert clean.facts(0).num_frames == 45


def test_the_doctor_says_which_images_were_scaled_to_8_bits_and_which_can_t_be(tmp_path):
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (48, 1))
    (tmp_path / "images").mkdir()
    Image.fromarray(ramp).save(tmp_path / "images" / "deep.png")
    Image.fromarray(ramp >> 4).save(tmp_path / "images" / "unclear.png")
    main(["doctor", str(tmp_path / "images"), f"--output={tmp_path / 'out'}"])
    unclear, deep = sorted((row["findings"] for row in rows(tmp_path / "out" / "files.csv")), key=len, reverse=True)
    assert unclear.startswith("Can't be read: its values reach 4095 of 65535, which would be almost black")
    assert deep == "Images of more than 8 bits: gray16"
    assert [Path(path).name for path in read_manifest(tmp_path / "out" / "clean.csv").paths] == ["deep.png"]


def test_a_folder_of_numbered_images_becomes_a_video(tmp_path):
    frames = tmp_path / "frames" / "clip7"
    frames.mkdir(parents=True)
    for number in range(6):
        Image.fromarray(np.full((40, 60, 3), 40 * number, np.uint8)).save(frames / f"{number:05d}.png")
    (tmp_path / "list.txt").write_text(f"{frames} 3\n")
    main(["transcode", str(tmp_path / "list.txt"), f"--output={tmp_path / 'out'}", "--frames_fps=12"])
    facts = scan_video(str(tmp_path / "out" / "clip7.mp4"))
    assert (facts.num_frames, facts.fps, facts.width, facts.height) == (6, 12.0, 60, 40)
    means = [frame.mean() for frame in all_frames(str(tmp_path / "out" / "clip7.mp4"), facts)]
    assert means == pytest.approx([40 * number for number in range(6)], abs=3)


def misbehave(task: str) -> str:
    if task == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if task == "hang":
        signal.pause()
    if task == "fail":
        raise KeyError(task)
    return task.upper()


@pytest.mark.slow
def test_a_process_that_crashes_or_hangs_costs_only_its_task():
    tasks = ["a", "hang", "b", "crash", "c", "d", "fail"]
    results = dict(killable_pool.map_killable(misbehave, tasks, num_workers=2, time_limit=3))
    assert [results[number] for number in (0, 2, 4, 5)] == ["A", "B", "C", "D"]
    assert results[1].reason == "the decoder did not return within 3 s"
    assert results[6].reason == "KeyError: 'fail'"
    assert results[3].reason == f"the decoder crashed (exit code {-signal.SIGSEGV})"
