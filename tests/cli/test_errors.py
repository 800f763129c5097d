"""A user's slip ends in one sentence on stderr and exit code 2, without a traceback."""

import importlib
import json

import pytest

from vjepa.cli.main import COMMANDS, _usage, main

pytestmark = pytest.mark.slow

TERMS = {"prediction": "LatentPrediction", "agreement": "Agreement"}
MASK = {"class_path": "vjepa.masking.MultiBlockTubes"}


def slip(capsys: pytest.CaptureFixture, *arguments: object) -> str:
    """What `vjepa` says of arguments that it must refuse."""
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    assert exit_.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("vjepa: error: ")
    return said.removeprefix("vjepa: error: ")


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--model.encoder.dept=3", "unknown key 'model.encoder.dept'; did you mean 'model.encoder.depth'?"),
        ("--model.encodr.depth=3", "unknown key 'model.encodr.depth'; did you mean 'model.encoder.depth'?"),
        ("--model.loss_exponent=2", "the loss is described by 'model.terms' and 'model.targets' now"),
        ("--data.num_frame=3", "unknown key 'data.num_frame'; did you mean 'data.num_frames'?"),
        ("--trainer.max_step=3", "unknown key 'trainer.max_step'; did you mean 'trainer.max_steps'?"),
        ("--traner.max_steps=3", "unknown key 'traner.max_steps'; did you mean 'trainer.max_steps'?"),
        ("--model.lr=3", "unknown key 'model.lr'; did you mean 'model.learning_rate'?"),
        ("--learning_rate=3", "unknown key 'learning_rate'; did you mean 'model.learning_rate'?"),
        ("--batch_size=3", "unknown key 'batch_size'; did you mean 'data.global_batch_size'?"),
        ("--modle.encoder=3", "unknown key 'modle.encoder'; did you mean 'model.encoder'?"),
        ("--model.learning_rate=1e-3", "has keys of its own (peak, start, end, warmup_steps"),
        ("--model.encoder=tiny", "give one of them, e.g. --model.encoder.size=tiny"),
        ("--model.encoder.depth=0", "depth (0) must be at least 1"),
        ("--model.terms={}", "terms is empty, so there is no loss"),
        ("--data.crop_size=64", "'data.crop_size': expected values in brackets, e.g. [64,64]; got 64"),
        ("--model.encoder.size=tinny", "'model.encoder.size': expected one of ['tiny', 'small'"),
        ("--model.encoder.depth=abc", "'model.encoder.depth': expected int (given: abc)"),
        ("--data.train_manifest=none.csv", "there is no manifest or folder none.csv (from "),
        ("--data.num_frames=5", "num_frames (5) must be a multiple of the tubelet's num_frames (2); try 4"),
        ("--data.crop_size=[32,30]", "width (30) must be a multiple of the tubelet's width (8); try 32"),
        ("--data.crop_size=[8,8]", "a tube mask needs at least 2 tokens per frame"),
        ("--data.masks.num_blocks=40", "num_blocks (40) must be at most the number of tokens per frame (16)"),
        (f"--data.masks={json.dumps([MASK] * 33)}", "33 masks are more than the clip's 32 tokens"),
        ("--data.masks=[]", "masks is empty"),
        ("--data.fps=4", "give exactly one of fps (4.0) and frame_step (2.0)"),
        (
            "--data.readers=[opencv]",
            "'data.readers': expected one of ['decord', 'pyav', 'torchcodec']; got value: opencv",
        ),
        ("--data.temporal_jitter=2", "temporal_jitter (2.0) must be between 0 and 1"),
        ("--data.rand_augment=rnd", "rand_augment (rnd) must be a policy such as 'rand-m7-n4-mstd0.5-inc1'"),
        ("--data.clips_per_video=3", "global_batch_size (4) must be a multiple of clips_per_video (3); try 6"),
        ("--data.eval_views=0", "eval_views (0) must be at least 1"),
        ('--data.mixture=[{"manifest": "a.csv"}]', "give either train_manifest or mixture, not both"),
        ('--data.mixture=[{"manifst": "a.csv"}]', "unknown key 'data.mixture.manifst'"),
        ("--model.encoder.num_heads=5", "embed_dim (24) must be a multiple of num_heads (5)"),
        (
            "--online_probe.data.train_manifest=a.csv",
            "online_probe.data: give exactly one of fps (None) and frame_step (None) and duration (None)",
        ),
        ("--ckpt_path=last", "there is no run to go on with below"),
        ("--ckpt_path=none.ckpt", "there is no checkpoint file none.ckpt"),
        ("--model.initial_weights=none.ckpt", "there is no checkpoint file none.ckpt"),
        ("--trainer.devices=many", "trainer: `devices` selected with `CPUAccelerator` should be an int > 0"),
        ("--trainer.max_steps=-1", "the run has no end for its schedules to reach"),
        ("--trainer.precision=bf16-true", "precision (bf16-true) keeps weights in half precision"),
        ("--trainer.precision=16-true", "give --trainer.precision=bf16-mixed"),
        ("--trainer.precision=transformer-engine", "give --trainer.precision=bf16-mixed"),
        ("--trainer.plugins=HalfPrecision", "must be float32; give --trainer.precision=bf16-mixed"),
        ("--trainer.min_steps=30", "min_steps (30) must be at most the steps of the run (20)"),
        (
            "--trainer.accumulate_grad_batches=8",
            "accumulate_grad_batches (8) must be at most the number of batches in an",
        ),
        ("--trainer.use_distributed_sampler=true", "use_distributed_sampler (true) would replace our order"),
        ("-c=none.yaml", "there is no recipe none.yaml; give the path of a YAML file, or a name"),
    ],
)
def test_a_wrong_flag_is_named_with_the_way_out(tiny_recipe, capsys, flag, sentence):
    assert sentence in slip(capsys, "fit", "-c", tiny_recipe, flag)


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_random_weights_are_not_evaluated(tiny_recipe, capsys, command):
    said = slip(capsys, command, "-c", tiny_recipe, "--name=a")
    runs = tiny_recipe.parent / "runs" / "a"
    assert f"`vjepa {command}` needs trained weights, and would use random ones: give --ckpt_path=FILE, or " in said
    assert f"--ckpt_path=last for the newest run below {runs} " in said and not runs.exists()


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        ("trainer:\n  max_step: 3\n", "unknown key 'trainer.max_step'; did you mean 'trainer.max_steps'?"),
        ("modle: 3\n", "unknown key 'modle'; did you mean 'model'?"),
        (
            f"data: {{init_args: {{masks: [{json.dumps(MASK | {'init_args': {'num_block': 3}})}]}}}}\n",
            "unknown key 'data.masks.num_block'; did you mean 'data.masks.num_blocks'?",
        ),
        ("model: [3", "wrong.yaml is not YAML in line"),
    ],
)
def test_a_wrong_line_of_a_recipe_is_named(tiny_recipe, tmp_path, capsys, recipe, sentence):
    (tmp_path / "wrong.yaml").write_text(recipe)
    assert sentence in slip(capsys, "fit", "-c", tiny_recipe, "-c", tmp_path / "wrong.yaml")


def test_a_layer_that_leaves_out_init_args_is_told_so(tiny_recipe, tmp_path, capsys):
    (tmp_path / "wrong.yaml").write_text(f"base: {tiny_recipe}\nmodel.terms.agreement: null\n")
    said = slip(capsys, "fit", "-c", tmp_path / "wrong.yaml")
    assert said == "'model' has keys beside class_path and init_args; put them below init_args"


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("agrement.weight=3", "'model.terms.agrement.weight'; did you mean 'model.terms.agreement'?"),
        ("prediction.exponnt=3", "'model.terms.prediction.exponnt'; did you mean 'model.terms.prediction.exponent'?"),
        ("prediction.weight=3", "unknown key 'model.terms.prediction.weight'; its keys are exponent, distance"),
    ],
)
def test_a_wrong_key_of_a_term_is_named_with_its_term(tiny_recipe, tmp_path, capsys, flag, sentence):
    terms = {name: {"class_path": f"vjepa.objectives.{each}"} for name, each in TERMS.items()}
    (tmp_path / "terms.yaml").write_text(json.dumps({"base": str(tiny_recipe), "model.init_args.terms": terms}))
    assert sentence in slip(capsys, "fit", "-c", tmp_path / "terms.yaml", f"--model.terms.{flag}")


def test_a_recipe_that_is_named_tells_its_keys_too(tmp_path, capsys):
    (tmp_path / "later.yaml").write_text("data.init_args.seed: 0")
    said = slip(capsys, "fit", "-c", "two_rooms", "-c", tmp_path / "later.yaml", "--model.num_workers=0")
    assert "did you mean 'data.num_workers'?" in said


def test_a_command_without_a_recipe_says_so(capsys):
    assert "missing 'data', 'model'; give a recipe" in slip(capsys, "fit")
    said = slip(capsys, "fit", "--data.train_manifest=a.csv")
    assert said.startswith(
        "'data.train_manifest' changes a recipe, and none is given; give a recipe, e.g. `-c configs/pret"
    )


def test_an_empty_folder_is_named(tiny_recipe, tmp_path, capsys):
    (tmp_path / "videos").mkdir()
    said = slip(capsys, "fit", "-c", tiny_recipe, f"--data.train_manifest={tmp_path / 'videos'}")
    assert "holds no video file" in said


def test_files_that_are_no_checkpoints_are_named(tiny_recipe, tmp_path, capsys):
    (tmp_path / "a.ckpt").write_text("not a checkpoint")
    for flag in ("--ckpt_path", "--model.initial_weights"):
        assert "a.ckpt is not a checkpoint" in slip(capsys, "fit", "-c", tiny_recipe, f"{flag}={tmp_path / 'a.ckpt'}")


def test_an_unknown_command_is_named(capsys):
    assert slip(capsys, "fitt") == (
        "unknown command 'fitt'; did you mean 'fit'? "
        "(commands: fit, validate, test, predict, probe, finetune, segment, compare, label-efficiency, collect, "
        "plan, anticipate, surprise, convert, embed, import-recipe, health-bands, make-data, manifest, doctor, "
        "recipes, completion, transcode, show, plan-run, replay, runs, report)"
    )
    assert "unknown command 'train'; did you mean 'fit'?" in slip(capsys, "train")
    assert "unknown key 'num_trian'; did you mean 'num_train'?" in slip(capsys, "make-data", "--num_trian=3")


def test_help_lists_the_commands(capsys):
    main([])
    assert "make-data" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("manifest",), "missing 'sources', 'output'; see `--help`"),
        (("doctor",), "missing 'manifest'; see `--help`"),
        (("manifest", "none.csv", "--output=a.csv"), "there is no file or folder none.csv"),
        (("manifest", ".", "--output=a.txt"), "the manifest's name (a.txt) must end in .csv or .parquet"),
        (("manifest", ".", "--outptu=a.csv"), "unknown key 'outptu'; did you mean 'output'?"),
        (("doctor", "none.csv"), "there is no manifest or folder none.csv"),
        (("doctor", "none.csv", "--duplicate_distance=30"), "duplicate_distance (30) must be between 0 and 11"),
        (("transcode", "none.csv", "--output=copies"), "there is no manifest or folder none.csv"),
        (("transcode", "none.csv", "--output=copies", "--short_side=0"), "short_side (0) must be at least 2"),
    ],
)
def test_slips_of_data_commands_are_named(capsys, arguments, sentence):
    assert sentence in slip(capsys, *arguments)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_function(name: str):
    module, _, function = COMMANDS[name].function.partition(":")
    assert callable(getattr(importlib.import_module(f"vjepa.cli.{module}"), function))
    assert name in _usage()


def test_a_metric_that_nothing_logs_is_named_with_those_that_there_are(tiny_recipe, capsys):
    for callback, sentence in (
        ("EarlyStopping", "metric `nope` which is not available"),
        ("ModelCheckpoint", "'nope'"),
    ):
        flags = [
            f"--trainer.callbacks={callback}",
            "--trainer.callbacks.monitor=nope",
            "--trainer.val_check_interval=1",
        ]
        said = slip(capsys, "fit", "-c", tiny_recipe, *flags)
        assert sentence in said and "val/loss" in said


@pytest.mark.parametrize("command", ["embed", "probe", "manifest"])
def test_commands_of_one_process_are_not_run_by_several(capsys, monkeypatch, command):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert f"`vjepa {command}` is one process, and 2 were started (WORLD_SIZE)" in slip(capsys, command)
