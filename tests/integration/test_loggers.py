"""Loggers of `--trainer.logger`: W&B, MLflow and CSV get the curves and pictures that TensorBoard gets."""

import importlib.util
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.runs import logged
from vjepa.cli.main import main
from vjepa.monitoring.card.media import logged_pictures
from vjepa.monitoring.health.run_curves import curves_by_step

pytestmark = pytest.mark.slow
FIT = ["--name=a", "--trainer.max_steps=2", "--pictures.every_n_steps=2"]
NAMES = {"train/loss", "train/loss_mask0", "health/target_rank", "health/gradient_norm", "schedule/learning_rate"}


def needs(package: str) -> pytest.MarkDecorator:
    extra = "pip install 'video-jepa[loggers]'"
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed: {extra}")


def wandb_records(file: bytes) -> Iterator[bytes]:
    """The records of a W&B file: LevelDB's log format after seven bytes, in blocks of 32 KB."""
    place, begun = 7, b""
    while place + 7 <= len(file):
        if (1 << 15) - place % (1 << 15) < 7:  # too little room for a head: zeros up to the next block
            place += -place % (1 << 15)
            continue
        _, length, kind = struct.unpack("<IHB", file[place : place + 7])  # kind: 1 whole, 2 first, 3 middle, 4 last
        part = file[place + 7 : place + 7 + length]
        begun = part if kind in (1, 2) else begun + part
        if kind in (1, 4):
            yield begun
        place += 7 + length


def fit(recipe: Path, *flags: str) -> Path:
    """The folder of the run, which has TensorBoard's events whatever other logger is given."""
    main(["fit", "-c", str(recipe), *FIT, *flags])
    run = recipe.parent / "runs" / "a" / "version_0"
    assert (run / "checkpoints" / "last.ckpt").exists() and set(curves_by_step(run)) >= NAMES
    return run


def test_csv_in_the_runs_folder_has_curves_and_pictures(tiny_recipe):
    folder = tiny_recipe.parent / "logs"
    flags = ["--trainer.logger=CSVLogger", f"--trainer.logger.save_dir={folder}", "--trainer.logger.name=b"]
    main(["fit", "-c", str(tiny_recipe), *FIT, *flags])
    run = folder / "b" / "version_0"
    curves = curves_by_step(run)
    assert set(curves) >= NAMES and len(curves["train/loss"]) == 2
    assert (run / "pictures" / "mask0_step_1.png").exists() and (run / "config.yaml").exists()


@needs("mlflow")
@pytest.mark.filterwarnings("ignore")
def test_mlflow_has_the_curves_pictures_and_settings_of_tensorboard(tiny_recipe, monkeypatch):
    from mlflow.tracking import MlflowClient

    monkeypatch.chdir(tiny_recipe.parent)
    uri = f"sqlite:///{tiny_recipe.parent / 'mlflow.db'}"
    artifacts = f"--trainer.logger.artifact_location={tiny_recipe.parent / 'artifacts'}"
    run = fit(tiny_recipe, "--trainer.logger=MLFlowLogger", f"--trainer.logger.tracking_uri={uri}", artifacts)
    client = MlflowClient(uri)
    [found] = client.search_runs([client.get_experiment_by_name("lightning_logs").experiment_id])
    for name in NAMES:
        history = [each.value for each in client.get_metric_history(found.info.run_id, name)]
        assert history == pytest.approx(logged(run, name))
    assert found.data.params["model/init_args/encoder/depth"] == "2"
    pictures = {
        each.path.partition("~")[2].partition("+")[0] for each in client.list_artifacts(found.info.run_id, "images")
    }
    assert pictures == set(logged_pictures(run))


@needs("wandb")
@pytest.mark.filterwarnings("ignore")
def test_wandb_offline_has_the_curves_pictures_and_settings_of_tensorboard(tiny_recipe, monkeypatch):
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_SILENT", "true")
    folder = tiny_recipe.parent / "wandb_logs"
    given = {"class_path": "WandbLogger", "init_args": {"offline": True, "save_dir": str(folder)}}
    run = fit(tiny_recipe, f"--trainer.logger={json.dumps(given)}")
    import wandb

    wandb.teardown()  # its process has then written all
    [file] = folder.rglob("*.wandb")
    curves: dict[str, list[float]] = {}
    settings: set[str] = set()
    for content in wandb_records(file.read_bytes()):
        record = Record()
        record.ParseFromString(content)
        for item in record.history.item:
            name = item.key or "/".join(item.nested_key)
            curves.setdefault(name, []).append(json.loads(item.value_json))
        settings |= {each.key for each in (*record.config.update, *record.run.config.update)}
    for name in NAMES:
        assert curves[name] == pytest.approx(logged(run, name))
    assert {name.split("/")[1] for name in curves if name.startswith("pictures/")} == set(logged_pictures(run))
    assert {"model", "data"} <= settings
