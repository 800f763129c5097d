"""What several tests share: the embedded world in small, and a recipe that trains on it in seconds."""

import copy
from pathlib import Path

from tests.shape_checks import check_package
from vjepa.processors import prepare_threads

prepare_threads()  # before anything imports torch
check_package()  # before anything else imports the package

import pytest  # noqa: E402
import torch  # noqa: E402
import yaml  # noqa: E402

from vjepa.data.synthetic.dataset import write_dataset  # noqa: E402

# torch caches the functions that device contexts handle when one is first entered. transformers replaces torch.linspace
# while it loads a model and enters one: were that the first, later contexts would not handle torch.linspace.
with torch.device("meta"):
    torch.empty(0)

ROOT = Path(__file__).parents[1]
RECIPE = {
    "model": {
        "class_path": "vjepa.training.JEPA",
        "init_args": {
            "encoder": {"embed_dim": 24, "depth": 2, "num_heads": 2, "tubelet": [2, 8, 8]},
            "predictor": {"embed_dim": 24, "depth": 1, "num_heads": 2},
            "learning_rate": {"start": 1e-4, "peak": 1e-3, "end": 1e-5, "warmup_steps": 4},
            "weight_decay": {"peak": 0.04, "end": 0.1},
            "momentum": {"peak": 0.9, "end": 1.0, "decay": "linear"},
        },
    },
    "data": {
        "class_path": "vjepa.data.clips.data_module.ClipDataModule",
        "init_args": {
            "num_frames": 4,
            "frame_step": 2,
            "crop_size": [32, 32],
            "masks": [
                {"class_path": "vjepa.masking.MultiBlockTubes", "init_args": {"num_blocks": 4}},
                {
                    "class_path": "vjepa.masking.MultiBlockTubes",
                    "init_args": {"num_blocks": 1, "spatial_scale": [0.5, 0.7]},
                },
            ],
            "global_batch_size": 4,
            "num_workers": 0,
        },
    },
    "trainer": {"max_steps": 20, "accelerator": "cpu", "log_every_n_steps": 1, "val_check_interval": 4},
}


@pytest.fixture(autouse=True)
def no_whole_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that are only parsed here render nothing into the checkout: thousands of clips, minutes of a suite."""

    def write_elsewhere(folder: str, **settings: object) -> None:
        if Path.cwd() != ROOT:
            write_dataset(folder, **settings)

    monkeypatch.setattr("vjepa.data.synthetic.on_demand.write_dataset", write_elsewhere)


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small embedded dataset: 26 clips (no multiple of a batch), 6 for validation."""
    folder = tmp_path_factory.mktemp("world")
    write_dataset(folder, num_train=26, num_val=6, num_test=6, num_frames=12, size=32, num_workers=1, progress=False)
    return folder


@pytest.fixture
def tiny_recipe(tiny_world: Path, tmp_path: Path) -> Path:
    """A recipe on the small dataset, in a folder where runs may be written."""
    recipe = copy.deepcopy(RECIPE)
    recipe["data"]["init_args"]["train_manifest"] = str(tiny_world / "train.csv")
    recipe["data"]["init_args"]["val_manifest"] = str(tiny_world / "val.csv")
    recipe["data"]["init_args"]["test_manifest"] = str(tiny_world / "test.csv")
    recipe["runs"] = str(tmp_path / "runs")
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first: none of them may start when the other worker is about to end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
