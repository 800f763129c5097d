"""What a run leaves behind and says, and that its sequence depends on nothing but seed and position."""

import os
import resource
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.integration.runs import checkpoint, cold_vjepa, logged
from vjepa.cli.main import _disk_reason, main
from vjepa.data.atomic_file import new_file
from vjepa.monitoring.run_logger import RunLogger

SCALARS = {
    "train/loss",
    "train/loss_mask0",
    "train/loss_mask1",
    "schedule/learning_rate",
    "schedule/weight_decay",
    "schedule/momentum",
    "health/context_rank",
    "health/context_std",
    "health/target_rank",
    "health/target_std",
    "health/predicted_rank",
    "health/predicted_std",
    "health/target_variance",
    "health/gradient_norm",
    "val/loss",
}


def test_a_run_leaves_events_settings_and_a_checkpoint_and_says_where(tiny_recipe, capsys):
    main(["fit", "-c", str(tiny_recipe), "--name=a", "--progress.seconds_between_lines=0", "--trainer.max_steps=8"])
    said = capsys.readouterr().out
    run = tiny_recipe.parent / "runs" / "a" / "version_0"
    events = EventAccumulator(str(run))
    events.Reload()
    assert set(events.Tags()["scalars"]) >= SCALARS
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["max_steps"] == 8
    assert checkpoint(run)["global_step"] == 8
    lines = [line for line in said.splitlines() if line.startswith("step ")]
    assert [line.split()[1] for line in lines] == [f"{step}/8" for step in range(1, 9)]
    assert "loss" in lines[0] and "context rank" in lines[0]
    for words in (
        "Finished at step 8",
        "effective rank",
        str(run / "checkpoints" / "last.ckpt"),
        "tensorboard --logdir",
    ):
        assert words in said


def test_the_saved_settings_repeat_the_run(tiny_recipe):
    runs = tiny_recipe.parent / "runs"
    main(["fit", "-c", str(tiny_recipe), "--name=a", "--trainer.max_steps=3"])
    main(["fit", "-c", str(runs / "a" / "version_0" / "config.yaml"), "--name=b"])
    first, second = (checkpoint(runs / name / "version_0")["state_dict"] for name in "ab")
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.mark.slow
def test_a_new_run_spares_the_last_one_and_a_resumed_one_goes_on_in_it(tiny_recipe, capsys):
    arguments = ["fit", "-c", str(tiny_recipe), "--name=a"]
    main([*arguments, "--trainer.max_steps=2"])
    main([*arguments, "--trainer.max_steps=3"])
    folder = tiny_recipe.parent / "runs" / "a"
    assert [checkpoint(folder / f"version_{k}")["global_step"] for k in (0, 1)] == [2, 3]
    main([*arguments, "--trainer.max_steps=5", "--ckpt_path=last"])
    assert [checkpoint(folder / f"version_{k}")["global_step"] for k in (0, 1)] == [2, 5]
    assert not (folder / "version_2").exists()
    main([*arguments, "--trainer.max_steps=5", "--ckpt_path=last"])  # nothing is left to do
    assert "Finished at step 5" in capsys.readouterr().out


@pytest.mark.slow
def test_validate_test_and_predict_take_a_checkpoint(tiny_recipe, capsys):
    main(["fit", "-c", str(tiny_recipe), "--name=a", "--trainer.max_steps=2"])
    settings = tiny_recipe.parent / "runs" / "a" / "version_0" / "config.yaml"
    trained_with = settings.read_text()
    for command in ("validate", "test", "predict"):
        main([command, "-c", str(tiny_recipe), "--name=a", "--ckpt_path=last"])
    assert settings.read_text() == trained_with
    said = capsys.readouterr().out
    assert "val/loss" in said and "test/loss" in said
    files = sorted((tiny_recipe.parent / "runs" / "a").glob("version_*/tokens/*.safetensors"))
    assert [load_file(file)["rows"].tolist() for file in files] == [[0, 1, 2, 3], [4, 5, 0, 1]]
    assert load_file(files[0])["tokens"].shape == (4, 32, 24)


@pytest.mark.slow
def test_a_run_finds_its_files_from_other_folders(tiny_recipe, tiny_world, tmp_path, monkeypatch):
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    shutil.copytree(tiny_world, project / "data")
    elsewhere.mkdir()
    recipe = project / "recipe.yaml"
    recipe.write_text(tiny_recipe.read_text().replace(f"{tiny_world}/", "data/").replace(f"{tmp_path}/runs", "runs"))

    def trained(folder: Path, *arguments: object) -> dict[str, torch.Tensor]:
        monkeypatch.chdir(folder)
        main(["fit", "--trainer.limit_val_batches=0", *map(str, arguments)])
        return checkpoint(next(folder.glob("runs/*/version_0")))["state_dict"]

    whole = trained(project, "-c", "recipe.yaml", "--trainer.max_steps=4", "--name=whole")
    shutil.rmtree(project / "runs")
    other = trained(elsewhere, "-c", recipe, "--trainer.max_steps=4")
    trained(project, "-c", "recipe.yaml", "--trainer.max_steps=4", "--name=cut", "--checkpoint.every_n_steps=2")
    assert all(torch.equal(tensor, other[name]) for name, tensor in whole.items())
    settings = project / "runs" / "cut" / "version_0" / "config.yaml"
    last = settings.parent / "checkpoints" / "last.ckpt"
    shutil.rmtree(elsewhere / "runs")
    again = trained(elsewhere, "-c", settings, f"--ckpt_path={last}", "--trainer.max_steps=6")
    assert checkpoint(next(elsewhere.glob("runs/*/version_0")))["global_step"] == 6
    longer = trained(elsewhere, "-c", recipe, f"--ckpt_path={last}", "--trainer.max_steps=6", "--name=longer")
    assert all(torch.equal(tensor, again[name]) for name, tensor in longer.items())


def test_there_must_be_something_to_validate(tiny_recipe, capsys):
    main(["fit", "-c", str(tiny_recipe), "--name=a", "--trainer.max_steps=1"])
    with pytest.raises(SystemExit):
        main(["validate", "-c", str(tiny_recipe), "--name=a", "--ckpt_path=last", "--data.val_manifest=null"])
    assert "there are no clips to validate or predict on: give --data.val_manifest" in capsys.readouterr().err


def test_bad_files_are_listed_and_the_run_goes_on(tiny_recipe, tiny_world):
    good = (tiny_world / "val.csv").read_text().splitlines()[1:]
    listing = tiny_recipe.parent / "list.csv"
    paths = [str(tiny_world / line.split(",")[0]) for line in good]
    listing.write_text("\n".join(["path", *paths, str(tiny_recipe)]) + "\n")
    arguments = ["fit", "-c", str(tiny_recipe), f"--data.train_manifest={listing}", "--trainer.max_steps=4"]
    main([*arguments, "--name=a"])
    run = tiny_recipe.parent / "runs" / "a" / "version_0"
    assert str(tiny_recipe) in (run / "quarantine.csv").read_text()
    assert checkpoint(run)["global_step"] == 4
    with pytest.raises(SystemExit):
        main([*arguments, "--name=b", "--data.max_bad_fraction=0.1"])


@pytest.mark.slow
def test_a_terminal_and_a_pipe_are_both_served(tiny_recipe):
    run = cold_vjepa("fit", "-c", tiny_recipe, "--name=a", "--trainer.max_steps=2", "--trainer.limit_val_batches=1")
    assert run.returncode == 0, run.stderr
    assert "step 2/2" in run.stdout and "Traceback" not in run.stderr
    assert "Warning" not in run.stderr, run.stderr
    assert "limit_val_batches=1)` was configured so 1 batch will be used" in run.stderr  # and not 1.0, which is all


# --- a folder for each run

SLURM = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}


def folders_of(recipe, name: str) -> dict[str, int]:
    """The run folders of a name, and the step of each one's checkpoint."""
    folders = (recipe.parent / "runs" / name).iterdir()
    return {folder.name: checkpoint(folder)["global_step"] for folder in sorted(folders)}


@pytest.mark.slow
def test_runs_of_one_slurm_job_have_folders_of_their_own_and_a_requeued_one_resumes(tiny_recipe, monkeypatch):
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    arguments = ["fit", "-c", str(tiny_recipe), "--name=a"]
    main([*arguments, "--trainer.max_steps=2"])
    main([*arguments, "--trainer.max_steps=3", "--data.seed=1"])
    assert folders_of(tiny_recipe, "a") == {"job_7": 2, "job_7-2": 3}
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    main([*arguments, "--trainer.max_steps=4"])  # resumes the run of the same model and data
    main([*arguments, "--trainer.max_steps=1", "--data.seed=2"])  # had not begun before
    assert folders_of(tiny_recipe, "a") == {"job_7": 4, "job_7-2": 3, "job_7-3": 1}
    assert len(logged(tiny_recipe.parent / "runs" / "a" / "job_7", "train/loss")) == 4


def test_runs_that_start_at_the_same_time_get_two_folders(tmp_path):
    one, other = (RunLogger(tmp_path, "a") for _ in range(2))
    assert [one.version, other.version, one.version] == ["version_0", "version_1", "version_0"]
    assert RunLogger(tmp_path, "a", "version_1").log_dir == str(tmp_path / "a" / "version_1")


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        ["--trainer.logger=TensorBoardLogger", "--trainer.logger.save_dir=FOLDER", "--trainer.logger.version=mine"],
        ["--trainer.logger=CSVLogger", "--trainer.logger.save_dir=FOLDER", "--trainer.logger.version=mine"],
        ["--trainer.logger=false", "--trainer.default_root_dir=FOLDER"],
    ],
)
def test_a_folder_that_a_user_names_is_not_taken_twice(tiny_recipe, capsys, flags):
    flags = [flag.replace("FOLDER", str(tiny_recipe.parent / "logs")) for flag in flags]
    arguments = ["fit", "-c", str(tiny_recipe), "--trainer.max_steps=1", *flags]
    main(arguments)
    last = next((tiny_recipe.parent / "logs").rglob("last.ckpt"))
    before = last.read_bytes()
    with pytest.raises(SystemExit):
        main(arguments)
    assert f"--ckpt_path={last}" in capsys.readouterr().err
    assert last.read_bytes() == before
    main([*arguments, f"--ckpt_path={last}", "--trainer.max_steps=2"])
    assert checkpoint(last.parent.parent)["global_step"] == 2


@pytest.mark.slow
def test_runs_without_a_logger_have_run_folders_too(tiny_recipe):
    for _ in range(2):
        main(["fit", "-c", str(tiny_recipe), "--name=a", "--trainer.logger=false", "--trainer.max_steps=1"])
    assert folders_of(tiny_recipe, "a") == {"version_0": 1, "version_1": 1}


@pytest.mark.parametrize("variable", ["WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])
def test_processes_that_would_each_train_alone_are_refused(tiny_recipe, capsys, monkeypatch, variable):
    for name, value in SLURM.items() if variable.startswith("SLURM") else ():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(variable, "2")
    with pytest.raises(SystemExit) as ended:
        main(["fit", "-c", str(tiny_recipe), "--name=a"])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert variable in said or "--ntasks=2" in said
    assert "--trainer.devices" in said and "--trainer.num_nodes" in said
    assert not (tiny_recipe.parent / "runs").exists()


# --- what a run can't go on from, or can't write


def refused(capsys, *arguments: object) -> str:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert ended.value.code == 2
    return capsys.readouterr().err.partition("vjepa: error: ")[2]


@pytest.mark.slow
def test_checkpoints_that_a_run_can_not_go_on_from_are_refused_with_the_difference(tiny_recipe, capsys, tmp_path):
    arguments = ["fit", "-c", str(tiny_recipe), "--trainer.max_steps=1"]
    main([*arguments, "--name=a"])
    run = tiny_recipe.parent / "runs" / "a" / "version_0"
    last = run / "checkpoints" / "last.ckpt"
    whole = checkpoint(run)
    save_file(whole["state_dict"], tmp_path / "a.safetensors")
    (tmp_path / "cut.ckpt").write_bytes(last.read_bytes()[:5000])
    torch.save({"state_dict": whole["state_dict"]}, tmp_path / "foreign.ckpt")
    torch.save({name: value for name, value in whole.items() if name != "optimizer_states"}, tmp_path / "weights.ckpt")
    torch.save(whole | {"state_dict": {"layer.weight": torch.zeros(1)}}, tmp_path / "other.ckpt")
    for path, flag, sentence in (
        (last, "--model.encoder.depth=3", "missing: context_encoder.blocks.2.norm1.weight"),
        (last, "--model.encoder.depth=1", "unexpected: context_encoder.blocks.1.norm1.weight"),
        (last, "--model.predictor.embed_dim=12", "(24, 24), must be (12, 24)"),
        (tmp_path / "a.safetensors", "--seed=0", "a.safetensors is no checkpoint of `vjepa fit` (it has no "),
        (tmp_path / "cut.ckpt", "--seed=0", "cut.ckpt is not a checkpoint (or was cut short)"),
        (tmp_path / "foreign.ckpt", "--seed=0", "is no checkpoint of `vjepa fit` (it has no pytorch-lightning_version"),
        (tmp_path / "weights.ckpt", "--seed=0", "weights.ckpt holds weights without the optimizer's state"),
        (
            tmp_path / "other.ckpt",
            "--seed=0",
            "other.ckpt is of another kind of model: it has layer",
        ),
        (tmp_path, "--seed=0", f"there is no checkpoint file {tmp_path}/checkpoints/last.ckpt"),
        ("best", "--seed=0", "there is no checkpoint file best"),
    ):
        flag = flag.replace("--seed", "--data.seed")
        assert sentence in refused(capsys, *arguments, f"--ckpt_path={path}", flag)
    main([*arguments, "--name=a", f"--ckpt_path={run}", "--trainer.max_steps=2"])
    assert checkpoint(run)["global_step"] == 2


@pytest.mark.slow
def test_a_full_disk_is_named_and_the_last_checkpoint_stays_whole(tiny_recipe, capsys, monkeypatch):
    arguments = ["fit", "-c", str(tiny_recipe), "--name=a", "--trainer.max_steps=2"]
    main([*arguments, "--trainer.max_steps=1"])
    last = tiny_recipe.parent / "runs" / "a" / "version_0" / "checkpoints" / "last.ckpt"
    before = last.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        said = refused(capsys, *arguments, "--ckpt_path=last")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f"{last}: File too large; free some space" in said
    assert last.read_bytes() == before and [file.name for file in last.parent.iterdir()] == ["last.ckpt"]


def test_a_folder_that_can_not_be_written_is_named(tiny_recipe, capsys):
    (tiny_recipe.parent / "file").touch()
    said = refused(capsys, "fit", "-c", tiny_recipe, f"--runs={tiny_recipe.parent}/file/runs")
    assert f"{tiny_recipe.parent}/file/runs" in said and "Not a directory; give a folder that can be written" in said


@pytest.mark.parametrize(("error", "way_out"), [(28, "free some space"), (13, "can be written")])
def test_errors_of_the_disk_have_the_path_and_a_way_out(tmp_path, error, way_out):
    class Full:
        def __init__(self, file):
            self.file = file

        def write(self, content):
            raise OSError(error, os.strerror(error))

    with pytest.raises(OSError, match=str(tmp_path / "a.pt")) as raised, new_file(tmp_path / "a.pt") as temporary:
        temporary.touch()
        torch.save({"a": torch.zeros(3)}, Full(temporary))
    assert way_out in _disk_reason(raised.value)
    assert not list(tmp_path.iterdir())


def test_a_sentence_that_replaces_an_error_of_the_disk_stays():
    with pytest.raises(ValueError, match="no video") as raised:
        try:
            raise PermissionError(13, "Permission denied", "a.mp4")
        except OSError:
            raise ValueError("a.mp4 is no video") from None
    assert _disk_reason(raised.value) is None


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--trainer.enable_checkpointing=false", "--trainer.fast_dev_run=1"])
def test_a_run_without_checkpoints_says_that_none_was_written(tiny_recipe, tmp_path, capsys, monkeypatch, flag):
    monkeypatch.chdir(tmp_path)
    main(["fit", "-c", str(tiny_recipe), "--name=a", "--trainer.max_steps=1", flag])
    said = capsys.readouterr().out
    assert "checkpoint   none was written" in said and "last.ckpt" not in said
    assert not list(tiny_recipe.parent.rglob("*.ckpt"))
    assert not Path("heartbeat.json").exists()


@pytest.mark.slow
def test_a_summary_names_only_checkpoints_that_are_there(tiny_recipe, capsys):
    main(["fit", "-c", str(tiny_recipe), "--name=a", "--trainer.max_steps=0"])
    assert "checkpoint   none was written" in capsys.readouterr().out
    main(["fit", "-c", str(tiny_recipe), "--name=a", "--trainer.max_steps=1"])
    last = tiny_recipe.parent / "runs" / "a" / "version_1" / "checkpoints" / "last.ckpt"
    assert f"checkpoint   {last}" in capsys.readouterr().out
    main(["fit", "-c", str(tiny_recipe), "--name=b", "--trainer.max_steps=1", f"--ckpt_path={last}"])
    said = capsys.readouterr().out
    assert "checkpoint   none was written" in said and "--ckpt_path" not in said


def test_a_run_without_a_progress_bar_is_a_run(tiny_recipe):
    main(["fit", "-c", str(tiny_recipe), "--name=a", "--trainer.enable_progress_bar=false", "--trainer.max_steps=1"])
    assert checkpoint(tiny_recipe.parent / "runs" / "a" / "version_0")["global_step"] == 1
