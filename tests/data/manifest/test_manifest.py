"""What a manifest may look like, what is read from it, and the sentences for one of no use."""

import csv
import time
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest

from vjepa.data.manifest.manifest import ROOT_VARIABLE, Manifest, PackedStrings, fact_columns, read_manifest
from vjepa.data.video.facts import Orientation, Trait, VideoFacts


@pytest.fixture(autouse=True)
def no_root_variable(monkeypatch):
    monkeypatch.delenv(ROOT_VARIABLE, raising=False)


@pytest.fixture
def memory():
    """fsspec's store in memory, empty before and after."""
    store = fsspec.filesystem("memory")
    store.store.clear()
    yield store
    store.store.clear()


def written(folder: Path, content: str, name: str = "list.csv") -> Path:
    file = folder / name
    file.write_text(content, encoding="utf-8")
    return file


def names_of(manifest: Manifest) -> list[str]:
    """Paths below the folder of the manifest."""
    return [path.removeprefix(str(Path(manifest.source).parent)).lstrip("/") for path in manifest.paths]


# --- files with a header


def test_a_csv_manifest_reads_paths_labels_and_splits(tmp_path):
    file = written(tmp_path, "path,label,split\na b.mp4,run,train\nc.mp4,jump,val\nd.mp4,run,train\n")
    manifest = read_manifest(file, split="train")
    assert manifest.paths == [str(tmp_path / "a b.mp4"), str(tmp_path / "d.mp4")] and len(manifest) == 2
    # Classes are numbered over all splits of a file, so that two of its splits agree.
    assert manifest.labels.tolist() == [1, 1] and manifest.label_names == ["jump", "run"]
    assert [manifest.split(row) for row in range(2)] == ["train", "train"] and manifest.label_name(0) == "run"
    assert read_manifest(file, split="val").label_name(0) == "jump"
    assert read_manifest(file, root=tmp_path / "videos").paths[1] == str(tmp_path / "videos" / "c.mp4")
    assert names_of(read_manifest(file)) == ["a b.mp4", "c.mp4", "d.mp4"]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_commas_semicolons_and_tabs_part_columns_with_or_without_a_byte_order_mark(tmp_path, delimiter, end, mark):
    rows = [["label", "path"], ["run", "a b.mp4"], ["jump", '"x, y; z.mp4"'], ["", "c.mp4"]]
    file = tmp_path / "list.csv"
    file.write_bytes((mark + end.join(delimiter.join(row) for row in rows) + end).encode())
    manifest = read_manifest(file)
    assert names_of(manifest) == ["a b.mp4", "x, y; z.mp4", "c.mp4"]
    assert manifest.label_names == ["jump", "run"] and manifest.labels.tolist() == [1, 0, -1]


def test_another_column_may_hold_the_labels(tmp_path):
    file = written(tmp_path, "path,label,verb\na.mp4,run,push\nb.mp4,jump,pull\n")
    assert read_manifest(file, label_columns=["verb"]).label_names == ["pull", "push"]
    without = read_manifest(file, label_columns=["noun"])
    assert without.labels.tolist() == [-1, -1] and without.label_names == []


def test_several_columns_of_labels_are_read_at_once(tmp_path):
    file = written(tmp_path, "path,label,verb,split\na.mp4,run,push,x\nb.mp4,jump,pull,y\nc.mp4,hop,,x\n")
    manifest = read_manifest(file, split="x", label_columns=["verb", "label"])
    for part, rows in ((manifest, [0, 1]), (manifest.select(np.array([1])), [1])):
        assert [part.columns["verb"].name(k) for k in range(len(part))] == [["push", ""][row] for row in rows]
        assert [part.columns["label"].name(k) for k in range(len(part))] == [["run", "hop"][row] for row in rows]
        assert part.columns["label"].names == ["hop", "jump", "run"] and part.label_names == ["pull", "push"]


def test_rows_without_a_path_are_left_out(tmp_path):
    assert names_of(read_manifest(written(tmp_path, "path,label\na.mp4,run\n,jump\n\nb.mp4,run\n"))) == [
        "a.mp4",
        "b.mp4",
    ]


def test_windows_are_read_where_they_are_given(tmp_path):
    manifest = read_manifest(written(tmp_path, "path,start,end\na.mp4,1.5,3\nb.mp4,,2\nc.mp4,4,\nd.mp4,,\n"))
    assert [manifest.window(row) for row in range(4)] == [(1.5, 3.0), (None, 2.0), (4.0, None), (None, None)]
    without = read_manifest(written(tmp_path, "path,start,end\na.mp4,,\n"))
    assert without.windows is None and without.window(0) == (None, None)


@pytest.mark.parametrize("delimiter", [",", ";"])
@pytest.mark.parametrize(
    ("cell", "seconds"),
    [("00:00:01", 1.0), ("1:30", 90.0), ("0:00:01.25", 1.25), (" 2 ", 2.0), ("1e3", 1000.0), ("nan", None), ("", None)],
)
def test_times_of_a_manifest_are_seconds_or_hours_minutes_seconds(tmp_path, cell, seconds, delimiter):
    rows = [["path", "start", "end"], ["a.mp4", cell, "2000"]]
    file = written(tmp_path, "\n".join(map(delimiter.join, rows)))
    assert read_manifest(file).window(0) == (seconds, 2000.0)


@pytest.mark.parametrize("column", ["start", "end"])
@pytest.mark.parametrize("cell", ["0,5", "soon", "12s", "1:75", "1:2:3:4", "-1", "inf", "1_000", "0x10", "١", "True"])
def test_a_time_that_can_t_be_read_is_refused_with_its_line(tmp_path, column, cell):
    file = written(tmp_path, f'path,{column}\na.mp4,1\n\n"b\nc.mp4","{cell}"\n')
    with pytest.raises(ValueError, match=rf"line 5 of {file}: {column} '{cell}' is not a time; write seconds, such as"):
        read_manifest(file)


@pytest.mark.parametrize(("start", "end"), [("5", "2"), ("1:00", "59.5"), ("3", "3")])
def test_an_end_that_is_not_after_its_start_is_refused_with_its_line(tmp_path, start, end):
    file = written(tmp_path, f"path,start,end\na.mp4,1,2\nb.mp4,{start},{end}\n")
    with pytest.raises(ValueError, match=rf"line 3 of {file}: end \({end}\) must be after start \({start}\)"):
        read_manifest(file)


def test_a_cell_with_an_unquoted_comma_does_not_shift_the_others(tmp_path):
    file = written(tmp_path, "path,start,end\na.mp4,0,1,\nb.mp4,0,5,1\n")
    with pytest.raises(ValueError, match=rf"line 3 of {file} has more cells than the header has columns \(3\)"):
        read_manifest(file)


@pytest.mark.parametrize(
    ("header", "said"),
    [("start_frame,stop_frame", True), ("Start,End", True), ("start,end_frame", False), ("trend,stopper", False)],
)
def test_columns_that_look_like_times_and_are_not_read_are_named(tmp_path, caplog, header, said):
    read_manifest(written(tmp_path, f"path,{header}\na.mp4,1,2\n"))
    assert (f"{header.replace(',', ', ')} are not read; parts of files are `start` and `end`" in caplog.text) == said


def test_blanks_around_the_names_of_columns_are_none_of_them(tmp_path):
    manifest = read_manifest(written(tmp_path, "path, start, end\na.mp4, 1, 2\n"))
    assert manifest.window(0) == (1.0, 2.0)


# --- lists without a header


@pytest.mark.parametrize("separator", [" ", "  ", "\t", ",", ", ", "::"])
def test_a_list_of_paths_and_labels_is_a_manifest(tmp_path, separator):
    rows = [("a b/c  d.mp4", 7), ("x,y.mp4", 0), ("no_suffix", 12)]
    file = written(tmp_path, "\n".join(f"{path}{separator}{label}" for path, label in rows) + "\n\n")
    manifest = read_manifest(file)
    assert names_of(manifest) == [path for path, _ in rows]
    assert manifest.labels.tolist() == [7, 0, 12] and len(manifest.label_names) == 13


def test_a_list_of_paths_alone_is_a_manifest_without_labels(tmp_path):
    manifest = read_manifest(written(tmp_path, "a b.mp4\n\nc.AVI\nd.png\n", "list.txt"))
    assert names_of(manifest) == ["a b.mp4", "c.AVI", "d.png"]
    assert manifest.labels.tolist() == [-1, -1, -1] and manifest.label_names == []


@pytest.mark.parametrize("separator", ["", " 3", ",3", "::3"])
@pytest.mark.parametrize("quote", ['"', "'"])
def test_quotes_around_a_path_in_a_list_are_no_part_of_it(tmp_path, quote, separator):
    file = written(tmp_path, f"{quote}a b.mp4{quote}{separator}\nc.mp4{separator}\nit's.mp4{separator}\n")
    assert names_of(read_manifest(file)) == ["a b.mp4", "c.mp4", "it's.mp4"]


def test_a_list_may_name_files_in_a_store(tmp_path):
    manifest = read_manifest(written(tmp_path, "s3://bucket/a.mp4::3\nhttps://host/b.mp4::4\n"))
    assert manifest.paths == ["s3://bucket/a.mp4", "https://host/b.mp4"] and manifest.labels.tolist() == [3, 4]


def test_a_line_without_its_label_is_named_by_its_number(tmp_path):
    file = written(tmp_path, "a.mp4 1\n\nb.mp4 2\nc d.mp4\n")
    sentence = r"line 4 of .*list.csv has no label, but the first line has one: 'c d.mp4'; each line must be `path lab"
    with pytest.raises(ValueError, match=sentence):
        read_manifest(file)


# --- labels


def test_labels_that_are_whole_numbers_keep_their_number(tmp_path):
    train = read_manifest(written(tmp_path, "path,label\na.mp4,3\nb.mp4,10\nc.mp4,\n"))
    assert train.labels.tolist() == [3, 10, -1] and train.label_names == [str(number) for number in range(11)]
    val = read_manifest(written(tmp_path, "path,label\na.mp4,10\n"))
    assert val.labels.tolist() == [10]  # the same class in a list that holds fewer of them


@pytest.mark.parametrize(
    "labels", [["run", "jump", "10"], ["1.5", "10", "9"], ["-2", "3", "1"], ["3", "4", "99999999"]]
)
def test_other_labels_are_numbered_in_the_order_of_their_names(tmp_path, labels):
    rows = "".join(f"{k}.mp4,{label}\n" for k, label in enumerate(labels))
    manifest = read_manifest(written(tmp_path, "path,label\n" + rows))
    assert manifest.label_names == sorted(labels)
    assert [manifest.label_names[number] for number in manifest.labels] == labels


def test_minus_one_is_no_label_and_changes_no_other_number(tmp_path):
    manifest = read_manifest(written(tmp_path, "a.mp4 10\nb.mp4 -1\nc.mp4 0\n"))
    assert manifest.labels.tolist() == [10, -1, 0]


@pytest.mark.parametrize("mark", ["NA", "N/A", "None", "null"])
def test_a_mark_of_a_missing_number_is_no_label_among_numbers(tmp_path, mark):
    assert read_manifest(written(tmp_path, f"path,label\na.mp4,1\nb.mp4,{mark}\nc.mp4,0\n")).labels.tolist() == [
        1,
        -1,
        0,
    ]
    assert read_manifest(written(tmp_path, f"path,label\na.mp4,run\nb.mp4,{mark}\n")).label_names == sorted(
        [mark, "run"]
    )


def test_a_superscript_is_a_name_and_no_number(tmp_path):
    assert read_manifest(written(tmp_path, "path,label\na.mp4,²\n")).label_names == ["²"]


# --- roots


def test_paths_are_below_the_root_or_the_manifest_or_the_variable(tmp_path, monkeypatch):
    (tmp_path / "lists").mkdir()
    file = written(tmp_path / "lists", "path\na.mp4\n/elsewhere/b.mp4\ns3://bucket/c.mp4\n")
    whole = ["/elsewhere/b.mp4", "s3://bucket/c.mp4"]
    assert list(read_manifest(file).paths) == [str(tmp_path / "lists" / "a.mp4"), *whole]
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "videos"))
    assert list(read_manifest(file).paths) == [str(tmp_path / "videos" / "a.mp4"), *whole]
    assert list(read_manifest(file, root=tmp_path / "root").paths) == [str(tmp_path / "root" / "a.mp4"), *whole]
    (tmp_path / "lists" / "a.mp4").touch()  # what lies beside the manifest is meant
    assert list(read_manifest(file).paths) == [str(tmp_path / "lists" / "a.mp4"), *whole]


def test_home_and_variables_are_filled_in_wherever_a_path_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLIPS", str(tmp_path / "clips"))
    rows = ["~/a.mp4", "$CLIPS/b.mp4", "${CLIPS}/c.mp4", "a$b ~.mp4"]
    written(tmp_path, "\n".join(["path", *rows]))
    whole = [str(tmp_path / name) for name in ("a.mp4", "clips/b.mp4", "clips/c.mp4")]
    for source in ("~/list.csv", "$HOME/list.csv", "${HOME}/list.csv"):
        assert list(read_manifest(source).paths) == [*whole, str(tmp_path / "a$b ~.mp4")]
    assert read_manifest("~/list.csv", root="$CLIPS").paths[3] == str(tmp_path / "clips" / "a$b ~.mp4")


def test_a_manifest_in_the_working_folder_names_files_in_it(tmp_path, monkeypatch):
    written(tmp_path, "path\na.mp4\n")
    monkeypatch.chdir(tmp_path)
    (path,) = read_manifest("list.csv").paths
    assert Path(path).resolve() == tmp_path / "a.mp4"


# --- folders


def test_a_folder_is_a_manifest_and_its_sub_folders_are_classes(tmp_path):
    for name in ("run/b.mp4", "run/deep/c.png", "jump/a.AVI", "jump/notes.txt", "top.webm", "jump/d.JPEG"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    manifest = read_manifest(tmp_path)
    found = dict(zip([path.rpartition("/")[2] for path in manifest.paths], manifest.labels.tolist(), strict=True))
    assert found == {"a.AVI": 0, "d.JPEG": 0, "b.mp4": 1, "c.png": 1, "top.webm": -1}
    assert manifest.label_names == ["jump", "run"]
    assert all(Path(path).exists() for path in manifest.paths)


CLUTTER = (
    *(".ipynb_checkpoints/a-checkpoint.mp4", "run/.ipynb_checkpoints/b.mp4", "@eaDir/a.mp4/thumb.jpg", "run/._b.mp4"),
    *("__MACOSX/run/b.mp4", "#recycle/a.mp4", "lost+found/a.mp4", "$RECYCLE.BIN/S-1/a.mp4", ".hidden.mp4", "Thumbs.db"),
    *(".DS_Store", "run/c.mp4.part", "run/d.mp4.crdownload", ".Trash-1000/files/a.png"),
    *("@Recently-Snapshot/1/a.mp4", "run/@__thumb/b.mp4.jpg", "Temporary Items/a.mp4", "FOUND.000/a.mp4"),
)


@pytest.mark.parametrize("scheme", ["", "memory://"])
def test_what_systems_and_downloads_leave_behind_is_no_class_and_no_clip(tmp_path, memory, caplog, scheme):
    folder = f"{scheme}{tmp_path}/.videos"  # where the folder itself lies does not matter
    files, inside = fsspec.core.url_to_fs(folder)
    for name in ("run/b.mp4", "jump/a.part.mp4", *CLUTTER):
        files.makedirs(f"{inside}/{name}".rpartition("/")[0], exist_ok=True)
        files.pipe_file(f"{inside}/{name}", b"x")
    manifest = read_manifest(folder)
    assert [path.partition(".videos/")[2] for path in manifest.paths] == ["jump/a.part.mp4", "run/b.mp4"]
    assert manifest.label_names == ["jump", "run"]
    assert f"skipped {len(CLUTTER)} hidden or system files below {folder}" in caplog.text


@pytest.mark.parametrize("name", ["clip.mp4", "clip.PNG"])
def test_one_video_or_image_is_a_dataset_of_one(tmp_path, monkeypatch, name):
    (tmp_path / name).write_bytes(b"\x87")
    monkeypatch.chdir(tmp_path)
    for source in (name, tmp_path / name, f"file://{tmp_path}/{name}"):
        manifest = read_manifest(source, root="/elsewhere")
        assert list(manifest.paths) == [str(source)] and manifest.labels.tolist() == [-1]


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04\x14\x00", b"\x93NUMPY\x01", b"\x00" * 100, "path\na.mp4\n".encode("utf-16")]
)
def test_a_file_that_is_no_list_is_refused_with_what_a_dataset_may_be(tmp_path, content):
    (tmp_path / "clips.npz").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"clips.npz is not a CSV text file in UTF-8 \(byte \d is .*\); a dataset is a CSV, Pa"
    ):
        read_manifest(tmp_path / "clips.npz")


@pytest.mark.parametrize("name", ["videos", "videos/", "./videos"])
def test_a_folder_may_be_named_from_the_working_folder(tmp_path, monkeypatch, name):
    (tmp_path / "videos" / "run").mkdir(parents=True)
    (tmp_path / "videos" / "run" / "a.mp4").touch()
    monkeypatch.chdir(tmp_path)
    manifest = read_manifest(name)
    assert Path(manifest.paths[0]).exists() and manifest.label_names == ["run"]


def test_a_root_changes_nothing_about_a_folder(tmp_path, monkeypatch):
    (tmp_path / "videos" / "run").mkdir(parents=True)
    (tmp_path / "videos" / "run" / "a.mp4").touch()
    monkeypatch.chdir(tmp_path)
    assert list(read_manifest("videos", root="/data").paths) == list(read_manifest("videos").paths)


def test_file_names_that_are_no_text_can_be_listed(tmp_path):
    raw = bytes(tmp_path) + b"/caf\xe9.mp4"
    open(raw, "wb").close()
    (path,) = read_manifest(tmp_path).paths
    assert Path(path).exists() and bytes(Path(path)) == raw


# --- stores


@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_a_manifest_in_a_store_names_files_beside_it(tmp_path, memory, scheme):
    where = f"memory:/{tmp_path}" if scheme == "memory" else f"file://{tmp_path}"
    with fsspec.open(f"{where}/list.csv", "w") as file:
        file.write("path,label\na b.mp4,run\n/whole/c.mp4,jump\n")
    manifest = read_manifest(f"{where}/list.csv")
    assert list(manifest.paths) == [f"{where}/a b.mp4", "/whole/c.mp4"] and manifest.labels.tolist() == [1, 0]
    assert read_manifest(f"{where}/list.csv", root="s3://bucket/x/").paths[0] == "s3://bucket/x/a b.mp4"


def test_a_manifest_on_disk_may_have_its_root_in_a_store(tmp_path):
    manifest = read_manifest(written(tmp_path, "a.mp4 1\n"), root="s3://bucket/videos")
    assert list(manifest.paths) == ["s3://bucket/videos/a.mp4"]


@pytest.mark.parametrize(
    "where",
    [
        "memory:///clips",
        pytest.param("memory://clips"),
        "file://{tmp_path}",
        "file://{tmp_path}/",
    ],
)
def test_a_folder_in_a_store_is_a_manifest(tmp_path, memory, where):
    where = where.format(tmp_path=tmp_path)
    files, folder = fsspec.core.url_to_fs(where)
    for name in ("run/b.mp4", "jump/a.png", "jump/notes.txt", "top.mp4"):
        files.makedirs(f"{folder}/{name}".rpartition("/")[0], exist_ok=True)
        files.pipe_file(f"{folder}/{name}", b"x")
    manifest = read_manifest(where)
    assert [path.rpartition("/")[2] for path in manifest.paths] == ["a.png", "b.mp4", "top.mp4"]
    assert all(fsspec.core.url_to_fs(path)[0].exists(path) for path in manifest.paths)
    assert manifest.label_names == ["jump", "run"] and manifest.labels.tolist() == [0, 1, -1]


def test_a_store_without_the_manifest_or_without_its_package_is_named(memory):
    with pytest.raises(ValueError, match=r"there is no manifest or folder memory://none/list.csv; give a CSV file"):
        read_manifest("memory://none/list.csv")
    with pytest.raises(ValueError, match=r"nosuchstore://a/list.csv can't be read: .*nosuchstore"):
        read_manifest("nosuchstore://a/list.csv")


# --- what a scan found out

FACTS = VideoFacts(
    num_frames=300,
    fps=30000 / 1001,
    width=320,
    height=241,
    first_time=1 / 3,
    container="mov",
    codec="h264",
    pixel_format="yuv420p",
    keyframe_interval=48,
    orientation=Orientation(True, False, True),
    traits=frozenset([Trait.OPEN_GOP, Trait.REORDERED]),
)
IMAGE = VideoFacts(num_frames=1, fps=1.0, width=20, height=30, container="image")


def with_facts(folder: Path, facts: list[VideoFacts | None], delimiter: str = ",") -> Path:
    file = folder / "list.csv"
    columns = ["path", *fact_columns(FACTS)]
    with file.open("w", newline="") as stream:
        table = csv.DictWriter(stream, columns, delimiter=delimiter)
        table.writeheader()
        for number, each in enumerate(facts):
            table.writerow({"path": f"{number}.mp4"} | (fact_columns(each) if each else {}))
    return file


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_facts_of_files_survive_the_way_through_a_manifest(tmp_path, delimiter):
    facts = [
        FACTS,
        IMAGE,
        replace(FACTS, traits=frozenset(), fps=1e-3),
        replace(FACTS, traits=frozenset(Trait) - {Trait.VARIABLE_RATE}),
    ]
    facts += [
        replace(FACTS, orientation=Orientation(*turned))
        for turned in [(t, r, c) for t in (False, True) for r in (False, True) for c in (False, True)]
    ]
    manifest = read_manifest(with_facts(tmp_path, facts, delimiter))
    assert [manifest.facts(row) for row in range(len(facts))] == facts


def test_files_that_must_be_looked_at_again_have_no_facts(tmp_path):
    varying = replace(FACTS, traits=frozenset([Trait.VARIABLE_RATE]), times=np.arange(300.0))
    manifest = read_manifest(with_facts(tmp_path, [FACTS, varying, None, IMAGE]))
    assert [manifest.facts(row) for row in range(4)] == [FACTS, None, None, IMAGE]
    assert read_manifest(written(tmp_path, "path\na.mp4\n")).facts(0) is None


def with_cell(folder: Path, column: str, cell: str) -> Path:
    """A manifest of two scanned files, the second with this cell."""
    file = with_facts(folder, [FACTS, FACTS])
    rows = list(csv.DictReader(file.read_text().splitlines()))
    rows[1][column] = cell
    with file.open("w", newline="") as stream:
        table = csv.DictWriter(stream, rows[0])
        table.writeheader()
        table.writerows(rows)
    return file


@pytest.mark.parametrize(
    ("column", "cell", "sentence"),
    [
        ("frames", "many", "'many' is not a number"),
        ("frames", "2.5", "'2.5' is not a whole number from 1"),
        ("frames", "0", "'0' is not a whole number from 1"),
        ("fps", "29,97", "'29,97' is not a number"),
        ("fps", "inf", "'inf' is not a number"),
        ("fps", "0", "'0' is not a number above 0"),
        ("width", "-320", "'-320' is not a whole number from 1"),
        ("first_time", "0:01x", "'0:01x' is not a number"),
        ("keyframe_interval", "1_2", "'1_2' is not a number"),
        ("traits", "open_gop broken", "'broken' is unknown"),
        ("orientation", "tz", "'z' is unknown"),
    ],
)
def test_a_fact_that_can_t_be_read_is_refused_with_line_and_column(tmp_path, column, cell, sentence):
    file = with_cell(tmp_path, column, cell)
    with pytest.raises(ValueError, match=rf"line 3 of {file}, .*{column}.*: {sentence}"):
        read_manifest(file)


@pytest.mark.parametrize("column", ["fps", "width", "keyframe_interval"])
def test_a_file_without_one_of_its_facts_is_scanned_again(tmp_path, column):
    manifest = read_manifest(with_cell(tmp_path, column, ""))
    assert [manifest.facts(row) for row in range(2)] == [FACTS, None]


# --- Parquet


def test_times_of_a_parquet_file_are_read_or_refused_with_their_row(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"path": ["a.mp4", "b.mp4", "c.mp4"], "start": [0.5, float("nan"), None], "end": ["00:00:01", "2", None]}
    parquet.write_table(arrow.table(columns), tmp_path / "list.parquet")
    manifest = read_manifest(tmp_path / "list.parquet")
    assert [manifest.window(row) for row in range(3)] == [(0.5, 1.0), (None, 2.0), (None, None)]
    parquet.write_table(arrow.table(columns | {"end": ["1", "2", "0,5"]}), tmp_path / "list.parquet")
    with pytest.raises(ValueError, match=r"row 3 of .*list.parquet: end '0,5' is not a time"):
        read_manifest(tmp_path / "list.parquet")


def test_a_parquet_file_is_read_like_a_csv_file(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [
        {"path": "a b.mp4", "label": "run", "split": "train", "start": 1.5, "end": None},
        {"path": "", "label": "run", "split": "train", "start": None, "end": None},
        {"path": "c.mp4", "label": None, "split": "val", "start": None, "end": 2.0},
    ]
    rows = [row | (fact_columns(FACTS) if row["split"] == "train" else {}) for row in rows]
    columns = {name: [row.get(name) for row in rows] for name in rows[0]}
    columns["frames"] = [None if value is None else int(value) for value in columns["frames"]]
    parquet.write_table(arrow.table(columns), tmp_path / "list.parquet")
    manifest = read_manifest(tmp_path / "list.parquet")
    assert names_of(manifest) == ["a b.mp4", "c.mp4"] and manifest.labels.tolist() == [0, -1]
    assert [manifest.window(row) for row in range(2)] == [(1.5, None), (None, 2.0)]
    assert [manifest.facts(row) for row in range(2)] == [FACTS, None]
    assert names_of(read_manifest(tmp_path / "list.parquet", split="val")) == ["c.mp4"]


def test_whole_numbers_of_a_parquet_file_keep_their_number(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"path": ["a.mp4", "b.mp4"], "label": [5, 0]}), tmp_path / "list.pq")
    assert read_manifest(tmp_path / "list.pq").labels.tolist() == [5, 0]


def test_texts_without_a_type_in_a_parquet_file_are_texts_and_lists_are_no_class(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"path": [b"a.mp4", b"b.mp4"], "label": [b"run", None]}), tmp_path / "list.pq")
    manifest = read_manifest(tmp_path / "list.pq")
    assert names_of(manifest) == ["a.mp4", "b.mp4"] and manifest.label_names == ["run"]
    parquet.write_table(arrow.table({"path": ["a.mp4"], "label": [[1, 2]]}), tmp_path / "list.pq")
    with pytest.raises(ValueError, match=r"row 1 of .*list\.pq, label: a cell must name one class, not be \[1, 2\]"):
        read_manifest(tmp_path / "list.pq")


def test_a_parquet_file_of_no_use_is_refused(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    with pytest.raises(ValueError, match=r"list.parquet is not a Parquet file"):
        read_manifest(written(tmp_path, "path\na.mp4\n", "list.parquet"))
    parquet.write_table(arrow.table({"video": ["a.mp4"]}), tmp_path / "list.parquet")
    with pytest.raises(ValueError, match=r"list.parquet has no column 'path' \(found: video\)"):
        read_manifest(tmp_path / "list.parquet")


# --- refusals


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "there is no manifest or folder .*list.csv; give a CSV file with a 'path' column or a folder"),
        ("video,label\na.mp4,run\n", r"has no column 'path' in its header line .found: video, label."),
        ("path,label\n", "list.csv lists no video"),
        ("path,label\n,run\n", "list.csv lists no video"),
        ("", r"has no column 'path' in its header line .found: nothing."),
        ("\n\n", r"has no column 'path' in its header line .found: nothing."),
    ],
)
def test_a_manifest_of_no_use_is_refused(tmp_path, content, sentence):
    file = tmp_path / "list.csv"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ValueError, match=sentence):
        read_manifest(file)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "list.csv").write_bytes(b"path\n\xff\xfe.mp4\n")
    with pytest.raises(
        ValueError, match=r"list.csv is not a CSV text file in UTF-8 \(byte 5 is 0xff\); a dataset is a"
    ):
        read_manifest(tmp_path / "list.csv")


def test_a_numpy_file_is_refused_with_the_way_out(tmp_path):
    np.save(tmp_path / "list.npy", np.array(["a.mp4"]))
    with pytest.raises(ValueError, match=r"list.npy is a NumPy file, which may carry code; save it as text, `path lab"):
        read_manifest(tmp_path / "list.npy")


def test_a_split_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match="lists no video of split 'test'"):
        read_manifest(written(tmp_path, "path,split\na.mp4,train\n"), split="test")
    with pytest.raises(ValueError, match=r"has no column 'split' in its header line \(found: path, label\)"):
        read_manifest(written(tmp_path, "path,label\na.mp4,train\n"), split="test")


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no video file; known endings are .*\.mp4.*\.png.* for images"):
        read_manifest(tmp_path)


# --- packed


def test_packed_strings_behave_like_a_list():
    strings = ["", "a", "größer/日本.mp4", "caf\udce9.mp4", "a", "x" * 1000]
    packed = PackedStrings(iter(strings))
    assert len(packed) == 6 and list(packed) == strings and packed == strings and packed == PackedStrings(strings)
    assert [packed[index] for index in range(-6, 6)] == strings * 2
    assert packed != strings[:-1] and packed != [*strings[:-1], "y"] and "a" in packed and "b" not in packed
    for index in (6, -7):
        with pytest.raises(IndexError):
            packed[index]
    assert len(PackedStrings([])) == 0 and list(PackedStrings([])) == []


def arrays_below(thing: object) -> list[np.ndarray]:
    if isinstance(thing, np.ndarray):
        return [thing]
    parts = thing if isinstance(thing, dict) else getattr(thing, "__dict__", {})
    return [array for value in parts.values() for array in arrays_below(value)]


@pytest.mark.slow
def test_a_long_manifest_is_read_soon_and_kept_small(tmp_path):
    rows = 200_000
    columns = fact_columns(FACTS)
    facts = ",".join(columns.values())
    file = tmp_path / "list.csv"
    with file.open("w") as stream:
        stream.write(",".join(["path", "label", "start", "end", *columns]) + "\n")
        stream.writelines(f"clips/{row:08d}.mp4,{row % 400},{row % 7},{row % 7 + 2},{facts}\n" for row in range(rows))
    began = time.perf_counter()
    manifest = read_manifest(file, root="/data")
    assert time.perf_counter() - began < 20
    assert len(manifest) == rows
    assert manifest.paths[-1] == "/data/clips/00199999.mp4" and manifest.facts(rows - 1) == FACTS
    assert manifest.labels[-1] == 199_999 % 400 and manifest.window(3) == (3.0, 5.0)
    arrays = arrays_below(manifest)
    assert len(arrays) == 7  # paths and their ends, labels, splits, windows, facts and their kinds
    assert sum(array.nbytes for array in arrays) < 200 * rows
    # Nothing beside the arrays grows with the rows: that is what forked workers share.
    assert len(manifest.label_names) == 400 and len(manifest.facts_table.kind_values) == 1
