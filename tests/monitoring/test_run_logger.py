"""A job that SLURM requeues finds the folder of its run."""

import yaml

from vjepa.monitoring.run_logger import requeued_folder


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
