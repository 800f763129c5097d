"""Loggers of `--trainer.logger`: W&B, MLflow and CSV get the curves and pictures that TensorBoard gets."""

import importlib.util
import json
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
    from wandb.sdk.internal.datastore import DataStore

    monkeypatch.setenv("WANDB_SILENT", "true")
    folder = tiny_recipe.parent / "wandb_logs"
    given = {"class_path": "WandbLogger", "init_args": {"offline": True, "save_dir": str(folder)}}
    run = fit(tiny_recipe, f"--trainer.logger={json.dumps(given)}")
    import wandb

    wandb.finish()
    [file] = folder.rglob("*.wandb")
    store = DataStore()
    store.open_for_scan(str(file))
    curves: dict[str, list[float]] = {}
    settings: set[str] = set()
    while (data := store.scan_data()) is not None:
        record = Record()
        record.ParseFromString(data)
        for item in record.history.item:
            name = item.key or item.nested_key[0]
            curves.setdefault(name, []).append(json.loads(item.value_json))
        settings |= {each.key for each in (*record.config.update, *record.run.config.update)}
    for name in NAMES:
        assert curves[name] == pytest.approx(logged(run, name))
    assert {name.removeprefix("pictures/") for name in curves if name.startswith("pictures/")} == set(
        logged_pictures(run)
    )
    assert {"model", "data"} <= settings
