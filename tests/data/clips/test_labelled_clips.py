"""Classes have one numbering, validation shares nothing with training, and each clip of a row comes once, in order."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tiny_clips import tiny_clips
from vjepa.data.clips.labelled_clips import LabelledClips
from vjepa.data.manifest.manifest import read_manifest
from vjepa.data.video.facts import VideoFacts


def written(folder: Path, name: str, rows: list[tuple], header: str = "path,label") -> str:
    file = folder / name
    file.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return str(file)


def of_lists(folder: Path, **settings) -> LabelledClips:
    """Clips of files that need not be there; a test list of one clip if none is given."""
    test = written(folder, "some_test.csv", [("t.mp4", "run")])
    return LabelledClips(**{"test_manifest": test, "frame_step": 1, "num_workers": 0} | settings)


def labels_of(clips: LabelledClips, split) -> list[str]:
    manifest = clips.manifests[split]
    return [manifest.label_name(row) for row in range(len(manifest))]


def with_bad_files(world: Path, folder: Path, bad: list[int]) -> str:
    """The training list of the small dataset, some of whose files are no videos."""
    manifest = read_manifest(world / "train.csv")
    rows = [(path, manifest.label_name(row)) for row, path in enumerate(manifest.paths)]
    for row in bad:
        broken = folder / f"broken{row}.mp4"
        broken.write_text("no video")
        rows[row] = (broken, rows[row][1])
    return written(folder, "with_bad.csv", rows)


# --- classes


def test_classes_have_one_numbering_over_files_with_different_classes(tmp_path):
    train = written(tmp_path, "train.csv", [("a.mp4", "run"), ("b.mp4", "jump"), ("c.mp4", "walk")])
    val = written(tmp_path, "val.csv", [("d.mp4", "walk"), ("e.mp4", "run")])
    test = written(tmp_path, "test.csv", [("g.mp4", "jump")])
    clips = of_lists(tmp_path, train_manifest=train, val_manifest=val, test_manifest=test)
    assert clips.class_names == ["jump", "run", "walk"]
    assert all(manifest.label_names == clips.class_names for manifest in clips.manifests.values())
    assert labels_of(clips, "train") == ["run", "jump", "walk"]
    assert labels_of(clips, "val") == ["walk", "run"] and labels_of(clips, "test") == ["jump"]


@pytest.mark.parametrize("names", [(0, 1, 2), (1, 2, 3), (1000, 1001, 1010), (-3, -2, 7)])
def test_only_numbers_that_have_clips_are_classes(tmp_path, names):
    train = written(tmp_path, "train.csv", [(f"{name}.mp4", name) for name in reversed(names)])
    clips = of_lists(tmp_path, train_manifest=train, val_manifest=train, test_manifest=train)
    assert clips.class_names == [str(name) for name in names]
    assert clips.manifests["test"].labels.tolist() == [2, 1, 0]


@pytest.mark.parametrize("written_so", ["0.0", "00", " 0", "0 ", "+0", "-0", "0.", "0e+00", "\u00a00"])
def test_a_number_is_one_class_however_it_is_written(tmp_path, written_so):
    train = written(tmp_path, "train.csv", [("a.mp4", 0), ("b.mp4", 1)])
    test = written(tmp_path, "test.csv", [("c.mp4", written_so), ("d.mp4", "1.0")])
    clips = of_lists(tmp_path, train_manifest=train, val_manifest=train, test_manifest=test)
    assert clips.class_names == ["0", "1"] and clips.manifests["test"].labels.tolist() == [0, 1]


@pytest.mark.parametrize("in_table", [[0.0, 1.0, None], [0, 1, None], ["0", "1", ""], [0.0, 1.0, float("nan")]])
def test_numbers_of_a_parquet_table_meet_those_of_a_list(tmp_path, in_table):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = arrow.table({"path": ["c.mp4", "d.mp4", "e.mp4"], "label": arrow.array(in_table)})
    parquet.write_table(table, tmp_path / "test.parquet")
    train = written(tmp_path, "train.csv", [("a.mp4", 1), ("b.mp4", 0)])
    clips = of_lists(tmp_path, train_manifest=train, val_manifest=train, test_manifest=str(tmp_path / "test.parquet"))
    assert labels_of(clips, "test") == ["0", "1"]


@pytest.mark.parametrize("pair", [(" run", "run "), ("caf\u00e9", "cafe\u0301")])
def test_names_that_look_alike_are_one_class(tmp_path, pair):
    train = written(tmp_path, "train.csv", [("a.mp4", pair[0]), ("b.mp4", "jump")])
    test = written(tmp_path, "test.csv", [("c.mp4", pair[1])])
    clips = of_lists(tmp_path, train_manifest=train, val_manifest=train, test_manifest=test)
    assert clips.manifests["test"].labels.tolist() == clips.manifests["train"].labels[:1].tolist()


@pytest.mark.parametrize("cell", ["", " ", "nan", "NaN", "-nan", "<NA>", "-1", "-1.0"])
def test_rows_whose_cell_says_nothing_have_no_class(tmp_path, cell):
    train = written(tmp_path, "train.csv", [("a.mp4", 2), ("b.mp4", cell), ("c.mp4", 1)])
    clips = of_lists(tmp_path, train_manifest=train, val_manifest=train, test_manifest=train)
    assert labels_of(clips, "train") == ["2", "1"] and clips.class_names == ["1", "2"]


@pytest.mark.parametrize(
    ("train", "test", "sentence"),
    [
        (
            ["a", "b"],
            ["A"],
            "classes 'a' (train clips of {folder}/train.csv) and 'A' (test clips of {folder}/test.csv)",
        ),
        (["a", "b"], ["c", "b", "a"], "1 of 3 test clips of {folder}/test.csv are of classes that the train clips of "),
        (["a", "b"], ["c", "d"], "lack: 'c', 'd'; known are 'a', 'b' (column 'label'); give each split its manifest"),
        (
            ["a", "a"],
            ["a"],
            "all 2 train clips of {folder}/train.csv are of class 'a' (column 'label'); a probe needs two",
        ),
        (
            [0.5, 0.25, 3],
            [0.5],
            "column 'label' has 3 values for 3 train clips of {folder}/train.csv ('0.25', '0.5', '3')",
        ),
    ],
)
def test_classes_that_no_probe_can_learn_are_refused(tmp_path, train, test, sentence):
    lists = {
        f"{split}_manifest": written(tmp_path, f"{split}.csv", [(f"{k}.mp4", name) for k, name in enumerate(names)])
        for split, names in {"train": train, "val": train, "test": test}.items()
    }
    with pytest.raises(ValueError) as refusal:
        of_lists(tmp_path, **lists)
    assert sentence.format(folder=tmp_path) in str(refusal.value)


def test_a_class_for_nearly_each_clip_is_noted(tmp_path):
    numbers, twice = ([(f"{k}.mp4", k // each) for k in range(24)] for each in (1, 2))
    noted = [of_lists(tmp_path, **lists_of(tmp_path, rows)).notes for rows in (numbers, twice)]
    assert noted == [["24 classes for 24 training clips: is 'label' a class?"], []]


def lists_of(folder: Path, rows: list[tuple]) -> dict[str, str]:
    return dict.fromkeys([f"{split}_manifest" for split in ("train", "val", "test")], written(folder, "all.csv", rows))


def test_a_split_is_found_however_its_number_is_written(tmp_path):
    rows = [("a.mp4", "run", "1"), ("b.mp4", "jump", "1.0"), ("c.mp4", "jump", " 1"), ("d.mp4", "run", "2")]
    one = written(tmp_path, "all.csv", rows, "path,label,split")
    clips = LabelledClips(train_manifest=one, train_split="1", val_split="01", test_split="2", frame_step=1)
    assert [len(clips.manifests[split]) for split in ("train", "val", "test")] == [3, 3, 1]


def test_rows_without_a_class_are_left_out(tmp_path):
    train = written(tmp_path, "train.csv", [("a.mp4", "run"), ("b.mp4", ""), ("c.mp4", "jump")])
    clips = of_lists(tmp_path, train_manifest=train, val_manifest=train)
    assert labels_of(clips, "train") == ["run", "jump"]


def test_selected_rows_keep_classes_windows_and_facts(tiny_world, tmp_path):
    manifest = read_manifest(tiny_world / "train.csv")
    part = manifest.select(np.array([7, 2]))
    assert part.paths == [manifest.paths[7], manifest.paths[2]] and part.label_names == manifest.label_names
    assert part.labels.tolist() == [manifest.labels[7], manifest.labels[2]]
    assert part.facts(1) == manifest.facts(2) is not None
    cut = read_manifest(written(tmp_path, "cut.csv", [("a.mp4", 1, 2), ("b.mp4", 3, 4)], "path,start,end"))
    assert cut.select(np.array([1])).window(0) == (3.0, 4.0)
    assert len(manifest.select(np.array([], np.int64))) == 0


def test_renumbered_rows_keep_their_class_and_none_stays_none(tmp_path):
    manifest = read_manifest(written(tmp_path, "a.csv", [("a.mp4", "run"), ("b.mp4", ""), ("c.mp4", "jump")]))
    other = manifest.numbered_as(["walk", "run", "jump"])
    assert other.labels.tolist() == [1, -1, 2]
    assert [other.label_name(row) for row in range(3)] == ["run", "", "jump"]
    with pytest.raises(ValueError, match=r"the classes run of .* are not among the known ones"):
        manifest.numbered_as(["jump"])


# --- validation rows out of the training list


def test_held_out_rows_share_no_group_with_training(tmp_path):
    rows = [(f"{k}.mp4", "run" if k % 3 else "jump", f"film{k % 17}") for k in range(200)]
    train = written(tmp_path, "train.csv", rows, "path,label,film")
    for seed in range(5):
        clips = of_lists(tmp_path, train_manifest=train, group="film", seed=seed)
        films = [{int(Path(path).stem) % 17 for path in clips.manifests[split].paths} for split in ("train", "val")]
        assert films[0] and films[1] and not films[0] & films[1]
        assert len(clips.manifests["train"]) + len(clips.manifests["val"]) == 200
        assert 0.2 <= len(clips.manifests["val"]) / 200 < 0.2 + 12 / 200  # a whole group at most above the share


def test_groups_are_those_of_their_own_rows_where_some_have_no_class(tmp_path):
    rows = [(f"{k}.mp4", ("", "run", "jump", "run")[k % 4], f"film{k % 5}") for k in range(60)]
    train = written(tmp_path, "train.csv", rows, "path,label,film")
    clips = of_lists(tmp_path, train_manifest=train, group="film")
    films = [{int(Path(path).stem) % 5 for path in clips.manifests[split].paths} for split in ("train", "val")]
    assert not films[0] & films[1]


def test_without_groups_each_class_gives_its_share(tmp_path):
    rows = [(f"{k}.mp4", "run" if k < 50 else "jump") for k in range(70)]
    clips = of_lists(tmp_path, train_manifest=written(tmp_path, "train.csv", rows), val_fraction=0.1)
    assert sorted(labels_of(clips, "val")) == ["jump"] * 2 + ["run"] * 5
    assert not set(clips.manifests["val"].paths) & set(clips.manifests["train"].paths)
    again = of_lists(tmp_path, train_manifest=str(tmp_path / "train.csv"), val_fraction=0.1)
    assert clips.manifests["val"].paths == again.manifests["val"].paths
    other = of_lists(tmp_path, train_manifest=str(tmp_path / "train.csv"), val_fraction=0.1, seed=1)
    assert clips.manifests["val"].paths != other.manifests["val"].paths


def test_the_only_clip_of_a_class_is_learned_from(tmp_path):
    rows = [("a.mp4", "rare"), *((f"{k}.mp4", "run") for k in range(9))]
    clips = of_lists(tmp_path, train_manifest=written(tmp_path, "train.csv", rows))
    assert "rare" in labels_of(clips, "train") and "rare" not in labels_of(clips, "val")


def test_three_splits_of_one_file_are_told_by_their_column(tmp_path):
    rows = [(f"{k}.mp4", "run" if k < 5 else "jump", ("train", "val", "test")[k % 3]) for k in range(9)]
    one = written(tmp_path, "all.csv", rows, "path,label,split")
    clips = LabelledClips(train_manifest=one, train_split="train", val_split="val", test_split="test", frame_step=1)
    stems = {split: [int(Path(path).stem) for path in clips.manifests[split].paths] for split in clips.manifests}
    assert stems == {"train": [0, 3, 6], "val": [1, 4, 7], "test": [2, 5, 8]}
    sentence = "test_split (test) without a train_split: heads would learn on all rows"
    with pytest.raises(ValueError) as refusal:
        LabelledClips(train_manifest=one, test_split="test", frame_step=1)
    assert sentence in str(refusal.value)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"test_manifest": None}, "there are no clips to test on: give a test_manifest, or a test_split"),
        ({"label": "verb"}, "has no classes in a column 'verb'; a probe needs them"),
        ({"group": "film"}, "has no groups in a column 'film'"),
        ({"val_fraction": 1.0}, "val_fraction (1.0) must be between 0 and 1; try 0.2"),
        ({"segments": 0}, "segments (0) must be at least 1"),
        ({"batch_size": 0}, "batch_size (0) must be at least 1"),
        ({"frame_step": None}, "give exactly one of fps (None) and frame_step (None) and duration (None)"),
    ],
)
def test_what_cannot_be_probed_is_refused_with_the_way_out(tmp_path, settings, sentence):
    train = written(tmp_path, "train.csv", [(f"{k}.mp4", ("run", "jump")[k % 2]) for k in range(5)])
    with pytest.raises(ValueError) as refusal:
        of_lists(tmp_path, **{"train_manifest": train} | settings)
    assert sentence in str(refusal.value)


def test_single_clips_of_classes_cannot_be_parted(tmp_path):
    with pytest.raises(ValueError, match="2 training rows can't be split"):
        of_lists(tmp_path, train_manifest=written(tmp_path, "train.csv", [("a.mp4", "run"), ("b.mp4", "jump")]))


# --- few labels


@pytest.mark.parametrize(
    ("amount", "counts"),
    [
        (20, {"run": 20, "jump": 20, "rare": 7}),
        (0.01, {"run": 10, "jump": 4, "rare": 1}),
        (0.1, {"run": 100, "jump": 40, "rare": 1}),
        ("all", {"run": 1000, "jump": 400, "rare": 7}),
    ],
)
def test_so_many_labels_are_drawn_of_each_class(tmp_path, amount, counts):
    names = ["run"] * 1000 + ["jump"] * 400 + ["rare"] * 7
    train = written(tmp_path, "train.csv", [(f"{k}.mp4", name) for k, name in enumerate(names)])
    clips = of_lists(tmp_path, train_manifest=train, val_manifest=train)
    rows = clips.labelled_rows(amount)
    assert len(set(rows.tolist())) == len(rows) and (np.diff(rows) > 0).all()
    assert {name: sum(names[row] == name for row in rows) for name in counts} == counts
    assert np.array_equal(rows, clips.labelled_rows(amount))
    if amount != "all":
        assert not np.array_equal(rows, clips.labelled_rows(amount, seed=1))


# --- clips


def test_each_row_comes_once_and_in_order(tiny_world):
    clips = tiny_clips(tiny_world, segments=2, train_segments=2, train_views=2)
    rows = np.array([25, 3, 3, 0, 11])  # no multiple of what a batch holds
    batches = list(clips.evaluation_batches("train", rows))
    assert torch.cat([batch.rows for batch in batches]).tolist() == np.repeat(rows, 4).tolist()
    manifest = clips.manifests["train"]
    assert torch.cat([batch.labels for batch in batches]).tolist() == np.repeat(manifest.labels[rows], 4).tolist()
    pixels = torch.cat([batch.clips for batch in batches])
    assert pixels.shape == (20, 3, 4, 32, 32) and torch.equal(pixels[4:8], pixels[8:12])
    assert not torch.equal(pixels[0], pixels[2])  # two segments
    (alone,) = clips.evaluation_batches("train", np.array([11]))
    assert torch.equal(alone.clips, pixels[16:])
    assert clips.unreadable == {}


def test_the_number_of_workers_changes_no_clip(tiny_world):
    rows = np.array([4, 9, 1])
    alone, workers = (
        list(tiny_clips(tiny_world, batch_size=2, num_workers=count).evaluation_batches("train", rows))
        for count in (0, 1)
    )
    for ours, theirs in zip(alone, workers, strict=True):
        assert torch.equal(ours.clips, theirs.clips) and torch.equal(ours.rows, theirs.rows)


def test_an_unreadable_file_is_left_out_and_reported(tiny_world, tmp_path):
    clips = tiny_clips(tiny_world, train_manifest=with_bad_files(tiny_world, tmp_path, [0, 9]))
    batches = list(clips.evaluation_batches("train", np.arange(26)))
    assert torch.cat([batch.rows for batch in batches]).tolist() == [row for row in range(26) if row not in (0, 9)]
    whole = tiny_clips(tiny_world)
    expected = torch.cat([batch.clips for batch in whole.evaluation_batches("train", np.arange(1, 9))])
    assert torch.equal(torch.cat([batch.clips for batch in batches])[:8], expected)
    # Each is named once, though the last batch is filled up from the first rows.
    assert {Path(path).name for path in clips.unreadable} == {"broken0.mp4", "broken9.mp4"}
    assert all(clips.unreadable.values())


def test_rows_of_which_none_can_be_read_give_no_clips(tiny_world, tmp_path):
    clips = tiny_clips(tiny_world, train_manifest=with_bad_files(tiny_world, tmp_path, [3, 4, 5]))
    batches = list(clips.evaluation_batches("train", np.array([3, 4, 5])))
    assert sum(len(batch.clips) for batch in batches) == 0 and len(clips.unreadable) == 3


def test_training_clips_are_those_of_the_given_rows(tiny_world):
    clips = tiny_clips(tiny_world, flip_probability=0.5)
    rows = np.array([2, 5, 7])
    loader = clips.training_batches(rows, batch_size=4, num_batches=3)
    assert len(loader) == 3
    batches = list(loader)
    of_rows = {int(label) for label in clips.manifests["train"].labels[rows]}
    assert {int(label) for batch in batches for label in batch.labels} == of_rows
    assert all(batch.clips.shape == (4, 3, 4, 32, 32) for batch in batches)


@pytest.mark.parametrize("rate", [{"fps": 5.0}, {"frame_step": 5.0}, {"duration": 0.8}])
def test_single_clips_keep_the_rate(tmp_path, rate):
    train = written(tmp_path, "train.csv", [(f"{k}.mp4", ("run", "jump")[k % 2]) for k in range(5)])
    clips = of_lists(tmp_path, train_manifest=train, num_frames=4, segments=3, **{"frame_step": None} | rate)
    longer = clips.with_single_clips(9)
    facts = VideoFacts(num_frames=100, fps=25.0, width=8, height=8)
    for each, num_frames in ((clips, 4), (longer, 9)):
        assert np.diff(each.frames.frame_ids(facts, 0.5)).tolist() == [5] * (num_frames - 1)
    assert {cuts.clips_per_video for cuts in longer.cuts.values()} == {1} and clips.cuts["test"].clips_per_video == 3


def test_the_fingerprint_tells_whatever_changes_a_clip(tiny_world, tmp_path):
    assert tiny_clips(tiny_world).fingerprint() == tiny_clips(tiny_world, batch_size=3, num_workers=1).fingerprint()
    shutil.copy(tiny_world / "val.csv", tmp_path / "val.csv")
    lines = (tmp_path / "val.csv").read_text().splitlines()
    (tmp_path / "val.csv").write_text("\n".join(lines[:-1]) + "\n")
    changed = [
        {},
        {"crop_size": (32, 24)},
        {"frame_step": 1},
        {"num_frames": 6},
        {"segments": 2},
        {"views": 3},
        {"train_segments": 2},
        {"label": "shape"},
        {"val_manifest": str(tmp_path / "val.csv"), "root": str(tiny_world)},
        {"test_manifest": str(tiny_world / "val.csv")},
    ]
    assert len({tiny_clips(tiny_world, **settings).fingerprint() for settings in changed}) == len(changed)


# --- folds


def of_people(folder: Path, num_people: int = 5, **settings) -> LabelledClips:
    rows = [(f"{p}{c}.mp4", c, f"person {p}") for p in range(num_people) for c in ("run", "jump")]
    people = written(folder, "people.csv", rows, "path,label,person")
    return of_lists(
        folder, **({"train_manifest": people, "test_manifest": None, "group": "person", "folds": 3} | settings)
    )


def test_each_clip_is_tested_in_one_fold_and_nobody_is_on_two_sides(tmp_path):
    clips = of_people(tmp_path)
    tested: list[int] = []
    for number in range(3):
        sides = [set(map(person_of, clips.fold(number).manifests[split].paths)) for split in ("train", "val", "test")]
        assert sum(map(len, sides)) == len(set.union(*sides)) == 5 and all(sides)
        tested += clips.fold(number).manifests["test"].paths
    assert len(tested) == len(set(tested)) == 10
    assert all(manifest.label_names == ["jump", "run"] for manifest in clips.manifests.values())


def person_of(path: str) -> str:
    return Path(path).name[0]


def test_folds_whose_groups_are_the_classes_are_refused(tmp_path):
    rows = [(f"{k}.mp4", f"class {k % 6}", f"scene {k % 12}") for k in range(24)]
    file = written(tmp_path, "scenes.csv", rows, "path,label,scene")
    with pytest.raises(ValueError, match=r"8 of 8 val clips of fold 1 are .* because groups of column 'label' stay"):
        of_people(tmp_path, train_manifest=file, group="label")
    with pytest.raises(ValueError, match=r"val clips .* because groups of column 'label' stay"):
        of_people(tmp_path, train_manifest=file, test_manifest=file, group="label", folds=None)


def test_clips_whose_class_a_fold_cannot_learn_are_counted(tmp_path):
    rows = [(f"{p}{c}.mp4", c, f"person {p}") for p in range(6) for c in ("run", "jump", "walk")]
    rows.append(("0hop.mp4", "hop", "person 0"))  # of one person only
    clips = of_people(tmp_path, train_manifest=written(tmp_path, "hop.csv", rows, "path,label,person"))
    assert clips.class_names == ["hop", "jump", "run", "walk"] and clips.notes == [
        "1 of 7 test clips of fold 1 are of classes that training lacks: 'hop'; they count as wrong",
        "1 of 7 val clips of fold 3 are of classes that training lacks: 'hop'; they count as wrong",
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"group": None}, "folds need groups: name the column of what must not be on both sides with --data.group"),
        ({"folds": 2}, r"folds \(2\) must be at least 3 .* and at most the number of groups in column 'person' \(5\)"),
        ({"folds": 6}, r"folds \(6\) must be at least 3 .* and at most the number of groups in column 'person' \(5\)"),
        ({"test_split": "val"}, "folds split the training manifest themselves; drop the recipe's other splits"),
    ],
)
def test_folds_that_cannot_be_are_refused(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        of_people(tmp_path, **settings)


# --- a test share


def by_class(count: int, *columns, names: str = "ab") -> list[tuple]:
    rows = [(name, n) for name in names for n in range(count)]
    return [
        (f"{name}{number}.mp4", name, *(column[number % len(column)] for column in columns)) for name, number in rows
    ]


def test_a_share_of_each_class_is_tested_and_never_seen_before(tmp_path):
    train = written(tmp_path, "train.csv", by_class(20))
    clips = LabelledClips(train_manifest=train, test_share=0.25, frame_step=1)
    counts = {split: [labels_of(clips, split).count(name) for name in "ab"] for split in ("train", "val", "test")}
    assert counts == {"train": [12, 12], "val": [3, 3], "test": [5, 5]}  # val: a fifth of the 15 others
    paths = [path for manifest in clips.manifests.values() for path in manifest.paths]
    assert len(set(paths)) == len(paths) == 40
    again = LabelledClips(train_manifest=train, test_share=0.25, frame_step=1, seed=1)
    assert list(again.manifests["test"].paths) != list(clips.manifests["test"].paths)


def test_a_share_is_made_of_whole_groups(tmp_path):
    train = written(tmp_path, "train.csv", by_class(20, "uvwxyz"), header="path,label,person")
    clips = LabelledClips(train_manifest=train, test_share=0.25, group="person", frame_step=1)
    people = [set(manifest.columns["person"].numbers.tolist()) for manifest in clips.manifests.values()]
    assert len(people) == 3 and all(people) and sum(map(len, people)) == len(set.union(*people)) == 6
    train = written(tmp_path, "train.csv", by_class(5, names="abcd"))
    with pytest.raises(ValueError, match="because groups of column 'label' stay together"):
        LabelledClips(train_manifest=train, test_share=0.25, group="label", frame_step=1)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"test_share": 1.0}, r"test_share \(1.0\) must be between 0 and 1; try 0.25"),
        ({"test_share": 0.2, "test_manifest": "t.csv"}, "and there is a test split, too; leave out test_share"),
        (
            {"test_share": 0.2, "folds": 3, "group": "label"},
            "drop the recipe's other splits: .* --data.test_share=null",
        ),
    ],
)
def test_a_share_goes_with_no_other_test_split(tmp_path, settings, sentence):
    train = written(tmp_path, "train.csv", by_class(4))
    with pytest.raises(ValueError, match=sentence):
        LabelledClips(train_manifest=train, frame_step=1, **settings)


def test_one_clip_of_a_class_can_t_be_tested(tmp_path):
    train = written(tmp_path, "train.csv", by_class(1))
    with pytest.raises(ValueError, match="2 training rows can't be split into training and test rows; give a test_man"):
        LabelledClips(train_manifest=train, test_share=0.5, frame_step=1)
