"""The folder of a run: a job that SLURM requeues finds it, and loggers without one of their own stand beside it."""

import numpy as np
import yaml
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.logger import DummyLogger
from PIL import Image

from vjepa.monitoring.run_logger import RunLogger, log_picture, requeued_folder, with_run_folder


def test_a_requeued_run_knows_its_folder_beside_one_whose_settings_were_never_written(tmp_path, monkeypatch):
    for name, value in {"JOB_ID": "7", "NTASKS": "1", "JOB_NAME": "train"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    settings = {"model": {"depth": 2}, "data": {"root": "a"}, "seed_everything": 0}
    for name, content in {"job_7": settings, "job_7-2": settings | {"seed_everything": 1}, "job_77": settings}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "job_7-3").mkdir()
    (tmp_path / "job_7-3" / "config.yaml").touch()  # killed before they were
    assert requeued_folder(tmp_path, settings) == tmp_path / "job_7"
    assert requeued_folder(tmp_path, settings | {"model": None}) is None


def test_the_runs_own_logger_comes_first_unless_another_one_has_a_folder(tmp_path):
    own, table = RunLogger(tmp_path, "a"), CSVLogger(tmp_path)
    other = DummyLogger()
    assert with_run_folder(own, other) == [own, other]
    assert with_run_folder(own, [other, table]) == [own, other, table]
    assert with_run_folder(own, [table, other]) == [table, other]


def test_csv_keeps_pictures_as_files(tmp_path):
    logger = CSVLogger(tmp_path, "a", "version_0")
    picture = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    log_picture(logger, "mask0", picture, 7)
    with Image.open(tmp_path / "a" / "version_0" / "pictures" / "mask0_step_7.png") as file:
        assert np.array_equal(np.asarray(file), picture)
