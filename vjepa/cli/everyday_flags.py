"""The ten flags of `vjepa fit` that most runs change; `vjepa fit --help` begins with them."""

EVERYDAY_FLAGS = (  # what one wants to change, the flag with an example, its unit
    ("the videos", "--data.train_manifest=videos/", "folder, CSV, Parquet or text list"),
    ("frames of a clip", "--data.num_frames=16", "frames, a multiple of the tubelet's"),
    ("frame rate", "--data.fps=8", "frames per second; with --data.frame_step=null where the recipe has one"),
    ("crop size", "--data.crop_size=[224,224]", "height and width in pixels, multiples of the tubelet's"),
    ("batch size", "--data.global_batch_size=64", "clips per step, over all devices"),
    ("length of the run", "--trainer.max_steps=1000", "optimizer steps"),
    ("learning rate", "--model.learning_rate.peak=1e-3", "after warmup; .start, .end and .warmup_steps are beside it"),
    ("devices", "--trainer.devices=8", "GPUs of a node; --trainer.accelerator=cpu for none"),
    ("run folder", "--runs=runs --name=mine", "the run goes to runs/mine/version_0, version_1, ..."),
    ("go on with a run", "--ckpt_path=last", "the newest of this name, or a checkpoint file"),
)


def everyday_flags() -> str:
    """A table, with the ways to the other flags."""
    wants, flags = (max(len(row[column]) for row in EVERYDAY_FLAGS) for column in (0, 1))
    rows = [f"  {want:<{wants}}  {flag:<{flags}}  {unit}" for want, flag, unit in EVERYDAY_FLAGS]
    return (
        "I want to change ...\n"
        + "\n".join(rows)
        + "\n\nEvery value of a recipe is a flag: `vjepa fit -c RECIPE --print_config` shows them, `--model.help "
        "vjepa.training.JEPA`\nand `--data.help vjepa.data.clips.data_module.ClipDataModule` explain them. Those of "
        "the trainer and of callbacks follow.\n"
    )
