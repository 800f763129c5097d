"""The card of a run: what it reads from a run's folder, and that a browser shows it without an error or a request."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from torch.utils.tensorboard import SummaryWriter

from tests.browser import browser, visit
from tests.cli.test_errors import slip
from vjepa.cli.main import main
from vjepa.data.video.encoding import encode_video
from vjepa.masking import RandomTubes
from vjepa.monitoring.card.changed_settings import changed_settings, short
from vjepa.monitoring.card.curve_panels import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Band, Line, panel
from vjepa.monitoring.card.media import logged_pictures, written_media
from vjepa.monitoring.card.origin import FILE, commit_of, fingerprint, read_origin
from vjepa.monitoring.card.result_tables import result_tables
from vjepa.monitoring.card.run import read_run_card
from vjepa.monitoring.health.run_curves import curves_by_step

SETTINGS = {
    "seed_everything": 0,
    "trainer": {"max_steps": 100, "max_epochs": -1, "precision": None},
    "model": {
        "class_path": "vjepa.training.JEPA",
        "init_args": {
            "encoder": {"embed_dim": 24, "depth": 2, "num_heads": 2, "mlp_ratio": None},
            "learning_rate": {"start": 0.0, "peak": 1e-3},
            "terms": {
                "prediction": {"class_path": "vjepa.objectives.LatentPrediction", "init_args": {}},
                "views": None,
            },
        },
    },
    "data": {
        "class_path": "vjepa.data.clips.data_module.ClipDataModule",
        "init_args": {
            "train_manifest": "videos.csv",
            "fps": 8.0,
            "num_frames": 16,
            "readers": ["decord", "pyav"],
            "masks": [{"class_path": "vjepa.masking.RandomTubes", "init_args": {"mask_ratio": 0.5}}],
        },
    },
    "pictures": {"every_n_steps": 50, "num_clips": 4},
}
PROBE = """task,features,labels,probe,seed,top1,low,high,top5,mean_class,val,chance,chosen
classes,pretrained,5,kNN,0,0.6000,0.5000,0.7000,,0.6,0.6,0.2500,1 neighbours
classes,pretrained,5,linear,0,0.7000,0.6000,0.8000,,0.7,0.7,0.2500,x
classes,pretrained,5,linear,1,0.8000,0.7000,0.9000,,0.8,0.8,0.2500,x
classes,<pixels>,5,kNN,0,0.3000,0.2000,0.4000,,0.3,0.3,0.2500,x
"""


def write_run(folder: Path, collapses: bool = False, **settings: object) -> Path:
    """A run of 100 steps with curves, two pictures, a probe, a film, and data that have changed since."""
    folder.mkdir(parents=True)
    with SummaryWriter(str(folder)) as writer:
        for step in range(0, 100, 10):
            writer.add_scalar("train/loss", 1 / (step + 1), step)
            left = 0.01 if collapses and step > 30 else 1.0
            writer.add_scalar("health/target_variance", 0.9 * left, step)
            writer.add_scalar("health/target_rank", 20 * left, step)
        for step in (1, 51):
            writer.add_image("pictures/features", np.full((8, 8, 3), step, np.uint8), step, dataformats="HWC")
    (folder / "config.yaml").write_text(yaml.safe_dump({**SETTINGS, **settings}))
    (folder / "probe").mkdir()
    (folder / "probe" / "results.csv").write_text(PROBE)
    (folder / "segment").mkdir()
    encode_video(folder / "segment" / "0_clip.mp4", np.zeros((4, 32, 32, 3), np.uint8), 4)
    manifest = folder.parent / "videos.csv"
    manifest.write_text("path\na.mp4\n")
    source = {"name": "training: videos", "path": str(manifest), "sha256": fingerprint(str(manifest))}
    start: dict[str, object] = {
        "started": "2026-01-01T00:00:00+00:00",
        "command": "vjepa fit -c mine",
        "vjepa": "0.1.0",
        "commit": "abc",
    }
    start |= {"python": "3.11", "packages": {"torch": "2"}, "device": "1 x cpu", "data": [source]}
    (folder / FILE).write_text(json.dumps({"starts": [start]}))
    return folder


def test_a_file_is_known_by_its_content_and_a_folder_by_its_names_and_sizes(tmp_path):
    (tmp_path / "a").mkdir()
    file = tmp_path / "a" / "clip.mp4"
    file.write_bytes(b"123")
    assert fingerprint(str(file)) == hashlib.sha256(b"123").hexdigest()
    assert fingerprint(str(tmp_path)) == hashlib.sha256(b"a/clip.mp4\t3\n").hexdigest()
    (tmp_path / "a" / ".hidden").touch()
    assert fingerprint(str(tmp_path)) == hashlib.sha256(b"a/clip.mp4\t3\n").hexdigest()
    assert fingerprint("s3://bucket/list.csv") is None and fingerprint(str(tmp_path / "none")) is None


def test_a_package_that_is_no_checkout_has_no_commit(tmp_path):
    assert commit_of(tmp_path) is None


def test_a_run_keeps_where_it_comes_from(tiny_recipe, tiny_world):
    main(["fit", "-c", str(tiny_recipe), "--name=a", "--trainer.max_steps=1"])
    main(["fit", "-c", str(tiny_recipe), "--name=a", "--trainer.max_steps=2", "--ckpt_path=last"])
    first, resumed = read_origin(tiny_recipe.parent / "runs" / "a" / "version_0")
    assert (
        first["packages"]["torch"] and first["device"].startswith("1 x cpu") and resumed["started"] >= first["started"]
    )
    hashes = {source["name"]: source["sha256"] for source in first["data"]}
    expected = hashlib.sha256((tiny_world / "train.csv").read_bytes()).hexdigest()
    assert hashes["training: train"] == expected and set(hashes) == {"training: train", "validation", "test"}


def test_settings_that_are_no_defaults_are_listed_by_their_flags():
    from vjepa.monitoring import Pictures

    found = changed_settings(SETTINGS, {"pictures": Pictures}, {})
    assert found == {
        "model": "JEPA",
        "model.encoder.embed_dim": "24",
        "model.encoder.depth": "2",
        "model.encoder.num_heads": "2",
        "model.learning_rate.start": "0",  # without it a schedule starts at its peak
        "model.learning_rate.peak": "0.001",
        "model.terms.prediction": "LatentPrediction()",
        "data": "ClipDataModule",
        "data.train_manifest": "videos.csv",
        "data.fps": "8",
        "data.masks": "[RandomTubes(mask_ratio=0.5)]",
        "pictures.every_n_steps": "50",
    }


def test_a_class_that_is_gone_is_shown_with_all_that_it_had():
    assert short({"class_path": "gone.Mask", "init_args": {"a": 1, "b": None}}) == "Mask(a=1, b=null)"
    default = {"class_path": "vjepa.masking.RandomTubes", "init_args": {"mask_ratio": RandomTubes().mask_ratio}}
    assert short(default) == "RandomTubes()"


def test_a_curve_goes_from_corner_to_corner_over_its_band():
    steps = np.array([0.0, 10.0])
    drawn = panel("rank", "", [Line("run", {0: 1.0, 10: 3.0}, "red")], 10, Band(steps, steps, steps + 1, steps + 3))
    left, right, top, bottom = LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM
    room = bottom - top  # for values from 1 to 13, the band's highest
    assert f'points="{left}.0,{bottom}.0 {right}.0,{bottom - room * 2 / 12:.1f}"' in drawn
    assert f'class="band" points="{left}.0,{bottom - room * 2 / 12:.1f} {right}.0,{top}.0' in drawn
    assert '<span class="last">3</span>' in drawn


def test_values_over_several_orders_of_magnitude_have_a_logarithmic_axis():
    drawn = panel("loss", "", [Line("run", {0: 1000.0, 5: 10.0, 10: 0.1}, "red")], 10)
    middle = (TOP + HEIGHT - BOTTOM) / 2
    assert f"{(LEFT + WIDTH - RIGHT) / 2:.1f},{middle:.1f}" in drawn


def test_a_curve_without_finite_values_does_not_stop_the_page():
    assert "no finite value" in panel("loss", "", [Line("run", {1: float("nan")}, "red")], 10)


def test_tables_have_means_over_seeds_or_intervals(tmp_path):
    run = write_run(tmp_path / "a")
    [table] = result_tables(run)
    assert table.title == "5 labels per class: accuracy on test clips in %" and table.columns == ["kNN", "linear"]
    assert table.rows == [("pretrained", ["60.0 [50.0, 70.0]", "75.0 ± 7.1"]), ("<pixels>", ["30.0 [20.0, 40.0]", "–"])]
    assert table.chance == 0.25 and table.headline == "kNN 60.0 [50.0, 70.0], linear 75.0 ± 7.1"
    assert table.bars[0].bars[0] == ("kNN", 0.6, 0.5, 0.7)


def test_planning_is_read_from_its_report(tmp_path):
    share = {"share": 0.9, "low": 0.8, "high": 1.0}
    scores = {"episodes": 20, "at": [{"radius": 4.5, "touched": share, "at_end": {**share, "share": 0.5}}]}
    report = {"suite": "rooms", "unit": "px", "radii": [4.5]}
    report["results"] = [{"policy": "world model", "split": "test", "checkpoint": None, "scores": scores}]
    (tmp_path / "plan").mkdir()
    (tmp_path / "plan" / "goal_reaching.json").write_text(json.dumps(report))
    [table] = result_tables(tmp_path)
    assert table.columns == ["touched < 4.5 px", "at end < 4.5 px", "episodes"]
    assert table.rows == [("world model", ["90.0", "50.0", "20"])]


def test_curves_of_a_csv_file_are_those_that_were_logged(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,train/loss,val/loss\n0,2.5,\n10,1.5,\n10,,3\n")
    assert curves_by_step(tmp_path) == {"train/loss": {0: 2.5, 10: 1.5}, "val/loss": {10: 3.0}}


def test_the_verdict_is_the_runs_own_with_its_reason(tmp_path):
    assert read_run_card(write_run(tmp_path / "a")).verdict == "healthy"
    verdict = read_run_card(write_run(tmp_path / "b", collapses=True)).verdict
    assert verdict is not None and verdict.startswith("collapsed: the variance of targets between clips is 0.009")


def test_first_and_last_pictures_and_films_are_kept_and_large_files_named(tmp_path, monkeypatch):
    run = write_run(tmp_path / "a")
    assert [picture.caption for picture in logged_pictures(run)["features"]] == ["step 1", "step 51"]
    media, left_out = written_media(run)
    assert [each.is_film for each in media] == [True] and not left_out
    monkeypatch.setattr("vjepa.monitoring.card.media.LARGEST", 10)
    assert written_media(run) == ([], ["segment/0_clip.mp4"])


def test_a_page_says_all_that_the_folder_holds(tmp_path, capsys):
    run = write_run(tmp_path / "runs" / "a" / "version_0")
    (run.parent / "videos.csv").write_text("path\nb.mp4\n")
    main(["report", str(tmp_path / "runs")])  # the newest run below
    page = (run / "report.html").read_text()
    assert f"{run / 'report.html'} (0." in capsys.readouterr().out
    for words in (
        "healthy",
        "vjepa fit -c mine",
        "abc",
        "<b>changed since</b>",
        "75.0 ± 7.1",
        "&lt;pixels&gt;",
        "step 51",
    ):
        assert words in page
    assert "<pixels>" not in page and "<script" not in page


def test_runs_stand_side_by_side_and_what_differs_is_marked(tmp_path):
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "b", pictures={"every_n_steps": 10})]
    main(["report", *map(str, runs), "-o", str(tmp_path / "both.html")])
    page = (tmp_path / "both.html").read_text()
    row = "<td>pictures.every_n_steps</td><td class=v>50</td><td class=v>10</td>"
    assert f"<tr class=differs>{row}" in page
    assert "<tr><td>model.encoder.depth</td><td class=v>2</td><td class=v>2</td>" in page


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("probe/results.csv", "features,probe\na,kNN\n"),
        ("finetune/results.csv", ""),
        ("segment/results.csv", "task,features\n"),
        ("surprise/calibration.csv", "row,kind,likely,plausible,impossible\na,possible,often,0,0\n"),
        ("plan/goal_reaching.json", '{"results": [{"split": "te'),
        ("plan/goal_reaching.json", '{"results": [{"split": "test"}]}'),
    ],
)
def test_a_damaged_result_is_named_and_left_out(tmp_path, capsys, name, content):
    run = write_run(tmp_path / "a")
    file = run / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(content)
    main(["report", str(run), "-o", str(tmp_path)])
    page = (tmp_path / "report.html").read_text()
    assert f"{file} is left out, since it can&#x27;t be read" in page
    assert f"{file} is left out, since it can't be read" in capsys.readouterr().err
    assert ("75.0 ± 7.1" in page) == (name != "probe/results.csv")


def test_what_a_page_can_not_do_without_is_refused(tmp_path, capsys):
    run = write_run(tmp_path / "a", collapse_monitor={"limits": {"min_rnk": 3}})
    assert "collapse_monitor.limits (min_rnk) has a name that this version" in slip(capsys, "report", run)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "config.yaml").write_text("trainer: {}\n")
    (tmp_path / "b" / "metrics.csv").write_text("epoch,train/loss\n0,2.5\n")
    assert "metrics.csv, line 2, is no row of numbers with a 'step'" in slip(capsys, "report", tmp_path / "b")


def test_a_folder_without_a_run_is_refused(tmp_path, capsys):
    assert slip(capsys, "report", tmp_path) == (
        f"there is no run in {tmp_path} (no config.yaml); give the folder of one, e.g. runs/synthetic/version_0"
    )


@pytest.mark.skipif(browser() is None, reason="there is no browser: apt-get install chromium")
def test_a_browser_shows_the_page_without_errors_or_requests(tmp_path):
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "b", collapses=True)]
    main(["report", *map(str, runs), "-o", str(tmp_path / "both.html")])
    shown = visit(
        tmp_path / "both.html",
        tmp_path / "profile",
        (
            "[...document.images].filter(each => each.naturalWidth == 8).length",
            "document.querySelectorAll('section').length",
            "[...document.querySelectorAll('.panel svg')].every(each => each.getBoundingClientRect().height > 50)",
            "document.documentElement.scrollWidth <= window.innerWidth",
        ),
    )
    assert shown.errors == [] and shown.requests == []
    assert shown.values == [4, 7, True, True]
    assert len(shown.screenshot) > 10_000


@pytest.mark.skipif(browser() is None, reason="there is no browser: apt-get install chromium")
def test_the_browser_of_these_tests_sees_errors_and_requests(tmp_path):
    page = tmp_path / "bad.html"
    page.write_text("<img src='http://localhost:9/a.png'><script>missing()</script>")
    shown = visit(page, tmp_path / "profile")
    assert any("Uncaught" in error for error in shown.errors)
    assert shown.requests == ["http://localhost:9/a.png"]
