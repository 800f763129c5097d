"""Matched pairs of the public benchmarks of intuitive physics, from folders as they are handed out.

IntPhys (Riochet et al. 2018, arXiv 1803.07616), IntPhys 2 (2506.09849), GRASP (2311.09048), InfLevel-lab (Weihs et al.
2022, TMLR). Rows have the columns of `vjepa.data.clips.matched_pairs`.
"""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np

PairLayout = Literal["intphys", "intphys2", "grasp", "inflevel"]
PAIR_COLUMNS = ("pair", "possible", "property", "violation_frame", "group", "difficulty")
Row = dict[str, str]

INTPHYS_BLOCKS = {"O1": "object permanence", "O2": "shape constancy", "O3": "spatio-temporal continuity"}
# Of InfLevel's kinds of trials, the possible one for each impossible one (cover open or closed, object seen or not).
INFLEVEL_PARTNERS = {"vi": "vv", "iv": "ii", "uv": "ui", "ci": "cv"}


def pair_rows(layout: PairLayout, source: str) -> Iterator[Row]:
    """Rows of a manifest, paths inside the folder. Raises ValueError where the folder has another layout."""
    folder = Path(source)
    if not folder.is_dir():
        raise ValueError(f"there is no folder {source}; --pairs={layout} lists the folder of a benchmark on disk")
    readers: dict[PairLayout, Callable[[Path], Iterator[Row]]] = {
        "intphys": _intphys,
        "intphys2": _intphys2,
        "grasp": _grasp,
        "inflevel": _inflevel,
    }
    assert set(readers) == set(get_args(PairLayout))
    rows = list(readers[layout](folder))
    if not rows:
        raise ValueError(f"{source} holds no pair in the layout of {layout}; data/README.md shows the layouts")
    return iter(rows)


def _pair(name: str, property: str, possible: str, impossible: str, **more: str) -> Iterator[Row]:
    about = {"pair": name, "property": property, **more}
    yield {"path": possible, "possible": "1", **about, "violation_frame": ""}
    yield {"path": impossible, "possible": "0", **about}


def _intphys(folder: Path) -> Iterator[Row]:
    """The development set of 2019: O1/01/1/scene/scene_001.png and so on, with O1/01/1/status.json.

    A scene is a quadruplet of two pairs. The partner of a film is the one that equals it for longest.
    """
    for block, property in INTPHYS_BLOCKS.items():
        for scene in sorted(each for each in (folder / block).glob("*") if each.is_dir()):
            films = [scene / str(number) for number in (1, 2, 3, 4)]
            same = {number: _frames_alike(films[0] / "scene", films[number] / "scene") for number in (1, 2, 3)}
            partner = max(same, key=lambda number: same[number])
            others = [number for number in (1, 2, 3) if number != partner]
            pairs = [(0, partner, same[partner]), (*others, _frames_alike(*(films[k] / "scene" for k in others)))]
            for number, (first, second, frame) in enumerate(pairs):
                possible, impossible = sorted((first, second), key=lambda k: not _is_possible(films[k]))
                if _is_possible(films[impossible]) or not _is_possible(films[possible]):
                    raise ValueError(f"films {first + 1} and {second + 1} of {scene} are not one possible and one not")
                paths = [f"{block}/{scene.name}/{each + 1}/scene" for each in (possible, impossible)]
                group = f"{block}/{scene.name}"
                yield from _pair(f"{group}/{number}", property, *paths, group=group, violation_frame=str(frame))


def _frames_alike(first: Path, second: Path) -> int:
    """How many first frames of two films are the same."""
    files = [sorted(film.glob("*.png")) for film in (first, second)]
    if not files[0] or not files[1]:
        raise ValueError(f"{first if not files[0] else second} has no frames (scene_001.png and so on)")
    for number, (one, other) in enumerate(zip(*files, strict=False)):
        if one.read_bytes() != other.read_bytes() and not np.array_equal(_pixels(one), _pixels(other)):
            return number
    return min(map(len, files))


def _pixels(file: Path) -> np.ndarray:
    pixels = cv2.imread(str(file))
    if pixels is None:
        raise ValueError(f"{file} is no picture that can be read")
    return pixels


def _is_possible(film: Path) -> bool:
    file = film / "status.json"
    if not file.exists():
        raise ValueError(f"there is no {file}; only the development set of IntPhys tells which films are possible")
    return bool(json.loads(file.read_text())["header"]["is_possible"])


def _intphys2(folder: Path) -> Iterator[Row]:
    """A split (Main or Debug) with metadata.csv; films of a scene match by the number in `type` (1_Impossible)."""
    table = folder / "metadata.csv"
    if not table.exists():
        raise ValueError(f"there is no {table}; give the folder Main or Debug of IntPhys 2")
    with table.open(newline="", encoding="utf-8") as file:
        records = list(csv.DictReader(file))
    scenes: dict[tuple[str, str], dict[str, Row]] = {}
    for record in records:
        number, _, kind = record["type"].partition("_")
        scenes.setdefault((record["SceneIndex"], number), {})[kind] = record
    for (scene, number), films in scenes.items():
        if set(films) != {"Possible", "Impossible"}:
            raise ValueError(f"scene {scene} of {table} has {', '.join(films)} of type {number}, not one of each")
        possible, impossible = films["Possible"], films["Impossible"]
        yield from _pair(
            f"scene {scene}, {number}",
            possible["condition"],
            possible["file_name"],
            impossible["file_name"],
            group=f"scene {scene}",
            difficulty=possible.get("Difficulty", ""),
        )


def _grasp(folder: Path) -> Iterator[Row]:
    """Level 2: P_Continuity/000.mp4 and IP_Continuity/000.mp4, which match by number, not frame by frame."""
    alone = []
    for possible_folder in sorted(folder.glob("P_*")):
        property = possible_folder.name.removeprefix("P_")
        for possible in sorted(possible_folder.glob("*.mp4")):
            paths = [f"{kind}_{property}/{possible.name}" for kind in ("P", "IP")]
            if (folder / paths[1]).exists():
                yield from _pair(f"{property}/{possible.stem}", property, *paths)
            else:
                alone.append(paths[0])
    _report_alone(alone)


def _inflevel(folder: Path) -> Iterator[Row]:
    """continuity/{camera}__continuity__{cover}__{object}__{trial}__{direction}.mp4; the others have no direction."""
    alone = []
    for property in ("continuity", "solidity", "gravity"):
        for impossible in sorted((folder / property).glob("*.mp4")):
            parts = impossible.stem.split("__")
            if len(parts) < 5 or parts[4] not in INFLEVEL_PARTNERS:
                continue
            possible = "__".join([*parts[:4], INFLEVEL_PARTNERS[parts[4]], *parts[5:]])
            if (folder / property / f"{possible}.mp4").exists():
                paths = [f"{property}/{stem}.mp4" for stem in (possible, impossible.stem)]
                yield from _pair(impossible.stem, property, *paths)
            else:
                alone.append(f"{property}/{impossible.name}")
    _report_alone(alone)


def _report_alone(paths: list[str]) -> None:
    if paths:
        print(f"{len(paths)} films without their partner are left out, the first is {paths[0]}")
