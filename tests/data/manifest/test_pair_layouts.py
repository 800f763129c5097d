"""Folders of the public benchmarks, in small, become manifests of matched pairs that the evaluation reads."""

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.tiny_pairs import moving_square, tiny_pairs
from vjepa.cli.main import main
from vjepa.data.manifest.pair_layouts import pair_rows
from vjepa.data.video.encoding import encode_video


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("video") / "a.mp4"
    encode_video(file, moving_square(8, num_frames=4), 8)
    return file


def put(video: Path, folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(video, folder / name)


def put_intphys(folder: Path, possible: tuple[bool, ...] = (True, False, False, True)) -> None:
    """One quadruplet of six frames: films 1 and 3 are the same up to frame 4, 2 and 4 up to frame 3."""
    start = np.random.default_rng(0).integers(0, 255, (2, 6, 16, 16, 3), np.uint8)
    start[1, 0] = start[0, 0]  # all films of a scene begin alike
    for number in range(4):
        frames = start[number % 2].copy()
        if number >= 2:
            frames[4 - number % 2 :] = 255 - frames[4 - number % 2 :]
        film = folder / "O1" / "01" / str(number + 1)
        (film / "scene").mkdir(parents=True)
        for frame, picture in enumerate(frames, start=1):
            cv2.imwrite(str(film / "scene" / f"scene_{frame:03d}.png"), picture)
        (film / "status.json").write_text(json.dumps({"header": {"is_possible": possible[number]}}))


def rows_of(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(newline="") as file:
        return list(csv.DictReader(file))


def test_intphys_films_are_paired_by_what_they_share(tmp_path):
    put_intphys(tmp_path)
    rows = list(pair_rows("intphys", str(tmp_path)))
    assert [(row["path"], row["pair"], row["possible"], row["violation_frame"]) for row in rows] == [
        ("O1/01/1/scene", "O1/01/0", "1", ""),
        ("O1/01/3/scene", "O1/01/0", "0", "4"),
        ("O1/01/4/scene", "O1/01/1", "1", ""),
        ("O1/01/2/scene", "O1/01/1", "0", "3"),
    ]
    assert {row["property"] for row in rows} == {"object permanence"} and {row["group"] for row in rows} == {"O1/01"}


def test_frames_of_intphys_become_lossless_films(tmp_path, capsys):
    """Listed, copied without loss and decoded, the clips of a pair are the same up to the violation."""
    put_intphys(tmp_path / "dev")
    frames, copies = tmp_path / "frames.csv", tmp_path / "copies"
    main(["manifest", str(tmp_path / "dev"), "--pairs=intphys", "--scan=false", f"--output={frames}"])
    lossless = ["--frames_fps=15", "--short_side=null", "--crf=0", "--num_workers=1"]
    main(["transcode", str(frames), *lossless, f"--output={copies}"])
    first, second = tiny_pairs(copies / "manifest.csv", crop_size=(16, 16)).decoded_pairs("test")
    assert (first.pair.group, first.pair.violation_frame, second.pair.violation_frame) == ("O1/01", 4, 3)
    for decoded in (first, second):
        same = (decoded.plain.frames == decoded.odd.frames).flatten(2).all(dim=2).all(dim=0)
        assert same.tolist() == [frame < decoded.pair.violation_frame for frame in range(6)]


@pytest.mark.parametrize(
    ("possible", "sentence"),
    [((True, True, True, False), "films 1 and 3 of .* are not one possible and one not"), (None, "only the dev")],
)
def test_quadruplets_without_two_pairs_are_refused(tmp_path, possible, sentence):
    put_intphys(tmp_path, possible or (True, False, False, True))
    if possible is None:
        (tmp_path / "O1" / "01" / "1" / "status.json").unlink()
    with pytest.raises(ValueError, match=sentence):
        pair_rows("intphys", str(tmp_path))


def test_intphys2_films_match_by_the_number_of_their_type(tmp_path, video):
    folder = tmp_path / "Main"
    names = [f"{number}_{kind}" for number in (1, 2) for kind in ("Possible", "Impossible")]
    put(video, folder, *(f"videos/{name}.mp4" for name in names))
    lines = ["SceneIndex,file_name,type,condition,Difficulty,Camera"]
    lines += [f"124_0,videos/{name}.mp4,{name},solidity,Hard,fixed" for name in names]
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    main(["manifest", str(folder), "--pairs=intphys2", f"--output={tmp_path / 'pairs.csv'}", "--num_workers=1"])
    rows = rows_of(tmp_path / "pairs.csv")
    assert [(row["path"], row["pair"], row["possible"]) for row in rows] == [
        (f"Main/videos/{name}.mp4", f"scene 124_0, {name[0]}", str(int(name.endswith("_Possible")))) for name in names
    ]
    assert rows[0]["frames"] == "4" and rows[0]["group"] == "scene 124_0"
    assert {
        pair.property for pair in tiny_pairs(tmp_path / "pairs.csv", property_column="difficulty").pairs["test"]
    } == {"Hard"}
    (folder / "metadata.csv").write_text("\n".join(lines[:2]) + "\n")
    with pytest.raises(ValueError, match=r"scene 124_0 of .* has Possible of type 1, not one of each"):
        pair_rows("intphys2", str(folder))


def test_grasp_films_match_by_their_number(tmp_path, video, capsys):
    put(
        video, tmp_path, *(f"{kind}_{property}/000.mp4" for kind in ("P", "IP") for property in ("Gravity", "Inertia2"))
    )
    put(video, tmp_path, "P_Solidity/000.mp4")
    main(["manifest", str(tmp_path), "--pairs=grasp", "--scan=false", f"--output={tmp_path / 'pairs.csv'}"])
    assert "1 films without their partner are left out, the first is P_Solidity/000.mp4" in capsys.readouterr().out
    assert [(row["path"], row["property"], row["possible"]) for row in rows_of(tmp_path / "pairs.csv")] == [
        ("P_Gravity/000.mp4", "Gravity", "1"),
        ("IP_Gravity/000.mp4", "Gravity", "0"),
        ("P_Inertia2/000.mp4", "Inertia2", "1"),
        ("IP_Inertia2/000.mp4", "Inertia2", "0"),
    ]
    assert len(tiny_pairs(tmp_path / "pairs.csv").pairs["test"]) == 2


def test_inflevel_trials_match_by_what_they_show_before(tmp_path, video, capsys):
    names = [f"continuity/center__continuity__bowl__duck__{trial}__LR.mp4" for trial in ("vv", "vi", "ii", "iv")]
    names += [f"solidity/right__solidity__pot6__egg__{trial}.mp4" for trial in ("ui", "uv", "ci")]
    put(video, tmp_path, *names)
    found = [(row["path"], row["possible"]) for row in pair_rows("inflevel", str(tmp_path))]
    stem = "continuity/center__continuity__bowl__duck__"
    assert found == [
        (f"{stem}ii__LR.mp4", "1"),
        (f"{stem}iv__LR.mp4", "0"),
        (f"{stem}vv__LR.mp4", "1"),
        (f"{stem}vi__LR.mp4", "0"),
        ("solidity/right__solidity__pot6__egg__ui.mp4", "1"),
        ("solidity/right__solidity__pot6__egg__uv.mp4", "0"),
    ]
    assert "1 films without their partner are left out, the first is solidity/" in capsys.readouterr().out


@pytest.mark.parametrize("layout", ["intphys", "grasp", "inflevel"])
def test_another_layout_is_named(tmp_path, layout):
    with pytest.raises(ValueError, match=f"holds no pair in the layout of {layout}; data/README.md shows the layouts"):
        pair_rows(layout, str(tmp_path))
    with pytest.raises(
        ValueError, match=f"there is no folder .*none; --pairs={layout} lists the folder of a benchmark"
    ):
        pair_rows(layout, str(tmp_path / "none"))
