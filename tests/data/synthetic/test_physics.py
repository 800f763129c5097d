"""The physics world: pairs differ by the violation alone, from its frame on, and amounts of motion do not tell them."""

import csv
import re
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from vjepa.cli.main import main
from vjepa.data.manifest.manifest import FACT_COLUMNS, read_manifest
from vjepa.data.synthetic.dataset import PHYSICS_COLUMNS, write_dataset
from vjepa.data.synthetic.matched_pairs import draw_physics_clip
from vjepa.data.synthetic.physics import (
    HARMLESS,
    PHYSICAL,
    PROPERTIES,
    bounce,
    draw_quadruple,
    draw_training_film,
    reflected,
)
from vjepa.data.synthetic.physics_render import render_film
from vjepa.data.synthetic.render import OCCLUDER_ID

README = Path(__file__).parents[3] / "data" / "physics" / "README.md"
Row = dict[str, str]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("physics") / "data"
    counts = ["--num_train=3", "--num_val=40", "--num_test=4"]
    main(["make-data", "--world=physics", f"--folder={folder}", *counts, "--num_workers=1", "--progress=false"])
    return folder


def read_rows(folder: Path, split: str) -> list[Row]:
    with (folder / f"{split}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def decoded(path: Path) -> NDArray[np.uint8]:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def films_of(name: str, seed: int) -> list[NDArray[np.uint8]]:
    return [render_film(film, 64)[0] for film in draw_quadruple(np.random.default_rng(seed), name, 32)]


def test_a_pair_is_two_rows_and_one_of_them_changes(dataset):
    rows = read_rows(dataset, "val")
    pairs: dict[str, list[Row]] = {}
    for row in rows:
        pairs.setdefault(row["pair"], []).append(row)
    assert len(rows) == 40 and len(pairs) == 20 and {len(pair) for pair in pairs.values()} == {2}
    assert sorted(first["property"] for first, _ in pairs.values()) == sorted([*PROPERTIES, *PROPERTIES])
    for first, second in pairs.values():
        harmless = first["property"] in HARMLESS
        assert first["property"] == second["property"]
        assert [first["changed"], second["changed"]] == ["0", "1"]
        assert [first["possible"], second["possible"]] == ["1", "1" if harmless else "0"]
        assert first["harmless"] == second["harmless"] == str(int(harmless))
        assert first["violation_frame"] == "" and 12 <= int(second["violation_frame"]) <= 26


def test_the_files_of_a_pair_are_equal_up_to_the_violation_and_differ_from_there(dataset):
    rows = read_rows(dataset, "val")
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        videos = [decoded(dataset / row["path"]).astype(int) for row in (first, second)]
        masks = [np.load(dataset / row["mask"])["mask"] for row in (first, second)]
        violation = int(second["violation_frame"])
        assert (videos[0][:violation] == videos[1][:violation]).all(), second
        assert (masks[0][:violation] == masks[1][:violation]).all(), second
        change = np.abs(videos[0][violation] - videos[1][violation])
        assert change.max() > 20 or change.mean() > 0.5, second  # of an object, or of the light


def test_training_clips_are_possible_and_the_manifests_need_no_scan(dataset):
    assert tuple(read_rows(dataset, "train")[0]) == PHYSICS_COLUMNS["train"]
    assert tuple(read_rows(dataset, "test")[0]) == PHYSICS_COLUMNS["test"]
    facts = read_manifest(str(dataset / "train.csv")).facts(0)
    assert facts is not None and facts.num_frames == 32
    assert {tuple(row["property"] for row in read_rows(dataset, "test"))} == {("permanence",) * 4}


def test_a_clip_is_a_function_of_seed_split_and_index():
    first, again = (draw_physics_clip((0, 1), 5, True, 32, 64) for _ in range(2))
    assert (first.frames == again.frames).all() and (first.masks == again.masks).all() and first.facts == again.facts
    for seed, index in (((1, 1), 5), ((0, 2), 5), ((0, 1), 45)):
        assert (draw_physics_clip(seed, index, True, 32, 64).frames != first.frames).any()


@pytest.mark.parametrize("name", [name for name in PROPERTIES if name not in ("solidity", "support")])
def test_an_impossible_film_begins_as_one_possible_film_and_ends_as_the_other(name):
    for seed in range(3):
        a, ab, b, ba = films_of(name, seed)
        for begins, changes, ends in ((a, ab, b), (b, ba, a)):
            assert (changes[:10] == begins[:10]).all() and (changes[-1:] == ends[-1:]).all()
            assert (changes != begins).any() and (changes != ends).any()


def test_the_amount_of_motion_does_not_tell_the_impossible_film():
    more = []
    for name in PHYSICAL:
        for seed in range(4):
            motion = [np.abs(np.diff(film.astype(np.float32), axis=0)).mean() for film in films_of(name, seed)]
            more += [motion[1] > motion[0], motion[3] > motion[2]]
    assert 0.37 < np.mean(more) < 0.63  # of 64: two standard errors are 0.13


def test_what_a_screen_hides_is_hidden_when_it_changes():
    """Seen before and after, and never while it is another object: masks hold none of it in between."""
    num_hidden = 0
    for seed in range(12):
        films = draw_quadruple(np.random.default_rng(seed), "shape", 32)
        masks = render_film(films[1], 64)[1]
        if not films[0].screens:
            continue
        first, second = films[1].things[-2:]
        change = int(np.argmax(second.seen))
        assert (masks[change] != 1).all() and (masks[change - 1] != 1).all() and (masks[change] == OCCLUDER_ID).any()
        assert (masks[0] == 1).any() and (masks[-1] == 1).any() and first.kind != second.kind
        num_hidden += 1
    assert num_hidden > 2


def test_walls_hold_objects_in_possible_films_and_not_in_impossible_ones():
    for seed in range(8):
        films = draw_quadruple(np.random.default_rng(seed), "solidity", 32)
        centre = (films[0].walls[0].left + films[0].walls[0].right) / 2
        for film, passes in zip(films, (False, True, False, True), strict=True):
            *others, main_object = film.things
            assert (len(np.unique(np.sign(main_object.x - centre))) > 1) == passes
            assert all(len(np.unique(np.sign(other.x - centre))) == 1 for other in others)


def test_an_object_bounces_without_loss_under_constant_gravity():
    time = np.arange(0.0, 40.0, 0.25)
    height = bounce(time, apex=18.0)
    assert height[0] == 18.0 and height.max() == 18.0 and 0 <= height.min() < 0.5
    flying = np.diff(height, 2)[height[1:-1] > 3.0]
    assert np.allclose(flying, -0.35 * 0.25**2)
    assert reflected(np.array([1.0, 3.0, 5.0]), -np.inf, 4.0).tolist() == [1.0, 3.0, 3.0]
    assert reflected(np.array([1.0, -1.0]), 0.0, np.inf).tolist() == [1.0, 1.0]


def test_light_and_texture_change_in_some_training_films():
    films = [draw_training_film(np.random.default_rng(seed), 32) for seed in range(200)]
    for changes in ([np.ptp(film.light, 0).any() for film in films], [np.ptp(film.fade) > 0 for film in films]):
        assert 0.2 < np.mean(changes) < 0.45
    assert {len({thing.number for thing in film.things}) for film in films} <= {0, 1, 2, 3}


def test_settings_without_sense_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"num_val \(6\) must be a multiple of 4, two pairs of one property; try 8"):
        write_dataset(tmp_path, world="physics", num_val=6)
    with pytest.raises(ValueError, match=r"num_frames \(16\) of the physics world must be at least 32"):
        write_dataset(tmp_path, world="physics", num_frames=16)
    with pytest.raises(ValueError, match=r"difficulty \(hard\) belongs to the world of motions"):
        write_dataset(tmp_path, world="physics", difficulty="hard")
    assert not list(tmp_path.iterdir())


def test_the_readme_names_every_column_and_property():
    text = README.read_text(encoding="utf-8")
    table = text.split("| column | meaning |")[1]
    columns = [name for line in re.findall(r"^\| (`.*?) \|", table, re.M) for name in re.findall(r"`(\w+)`", line)]
    assert columns == list(PHYSICS_COLUMNS["test"]) and set(FACT_COLUMNS) < set(columns)
    properties = text.split("| in the impossible film |")[1].split("\n\n")[0]
    assert re.findall(r"`(\w+)`", properties) == list(PROPERTIES)
