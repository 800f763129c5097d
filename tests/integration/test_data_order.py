"""Clips and masks follow from seed and position alone, not from workers, ranks or where a run broke off."""

import itertools
import multiprocessing
import signal
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image

from vjepa.data.clips.batch import ClipBatch
from vjepa.data.clips.data_module import ClipDataModule, Source
from vjepa.masking import MultiBlockTubes


class _Run:
    """As much of a Trainer as a data module asks for."""

    training, log_dir, default_root_dir = True, None, "."

    def __init__(self, rank: int = 0, world_size: int = 1):
        self.global_rank, self.world_size = rank, world_size
        self.fit_loop = Trainer(logger=False, enable_checkpointing=False).fit_loop


def data_of(world, rank: int = 0, world_size: int = 1, **settings) -> ClipDataModule:
    masks = [MultiBlockTubes(4), MultiBlockTubes(1, (0.5, 0.7))]
    settings = {"train_manifest": str(world / "train.csv"), "masks": masks} | settings
    data = ClipDataModule(
        num_frames=4,
        frame_step=2,
        crop_size=(32, 32),
        tubelet=(2, 8, 8),
        global_batch_size=4,
        **({"num_workers": 0} | settings),
    )
    data.trainer = _Run(rank, world_size)
    data.setup("fit")
    return data


def run(data: ClipDataModule, num_batches: int) -> list[ClipBatch]:
    """That many batches, as a run would take them, over as many epochs as they need."""
    batches: list[ClipBatch] = []
    while len(batches) < num_batches:
        for batch in itertools.islice(data.train_dataloader(), num_batches - len(batches)):
            batches.append(data.on_after_batch_transfer(batch, 0))
            data.trainer.fit_loop.epoch_loop.batch_progress.total.processed += 1
    return batches


def assert_equal(ours: list[ClipBatch], theirs: list[ClipBatch]) -> None:
    for mine, yours in zip(ours, theirs, strict=True):
        for name in ("clips", "sources", "rows", "positions", "seconds"):
            assert torch.equal(getattr(mine, name), getattr(yours, name)), name
        for my_mask, your_mask in zip(mine.masks, yours.masks, strict=True):
            assert torch.equal(my_mask.context_ids, your_mask.context_ids)
            assert torch.equal(my_mask.target_ids, your_mask.target_ids)


def mixture(world, folder) -> dict:
    """Clips of two lengths and images, from three sources."""
    for k in range(5):
        picture = np.random.default_rng(k).integers(0, 255, (40, 48, 3), dtype=np.uint8)
        (folder / "pictures").mkdir(exist_ok=True)
        Image.fromarray(picture).save(folder / "pictures" / f"{k}.png")
    return {
        "train_manifest": None,
        "mixture": [
            Source(str(world / "train.csv"), weight=0.5),
            Source(str(world / "val.csv"), weight=0.2, fps=8.0),
            Source(str(folder / "pictures"), weight=0.3, num_frames=2, name="images"),
        ],
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes")
@pytest.mark.parametrize("is_mixture", [False, True])
def test_clips_and_masks_do_not_depend_on_the_number_of_workers(tiny_world, tmp_path, is_mixture):
    settings = mixture(tiny_world, tmp_path) if is_mixture else {}
    plain = run(data_of(tiny_world, **settings), 14)
    assert [batch.positions[0].item() for batch in plain] == list(range(0, 56, 4))
    for num_workers in (1, 4):
        assert_equal(run(data_of(tiny_world, num_workers=num_workers, **settings), 14), plain)


@pytest.mark.parametrize("is_mixture", [False, True])
def test_two_ranks_together_see_what_one_does(tiny_world, tmp_path, is_mixture):
    settings = mixture(tiny_world, tmp_path) if is_mixture else {}
    whole = run(data_of(tiny_world, **settings), 10)
    parts = [run(data_of(tiny_world, rank, 2, **settings), 10) for rank in (0, 1)]
    for batch, first, second in zip(whole, *parts, strict=True):
        assert torch.equal(batch.clips, torch.cat([first.clips, second.clips]))
        assert batch.rows.tolist() == first.rows.tolist() + second.rows.tolist()
        for mask, *halves in zip(batch.masks, first.masks, second.masks, strict=True):
            assert torch.equal(mask.target_ids, torch.cat([half.target_ids for half in halves]))


@pytest.mark.slow
@pytest.mark.parametrize("is_mixture", [False, True])
@pytest.mark.parametrize("changed", [{}, {"num_workers": 2}])
def test_a_run_that_stops_at_any_batch_goes_on_as_if_it_had_not(tiny_world, tmp_path, is_mixture, changed):
    settings = mixture(tiny_world, tmp_path) if is_mixture else {}
    unbroken = data_of(tiny_world, **settings)
    plain = run(unbroken, 13)  # an epoch has 6 batches (9 of the mixture)
    for stop in range(1, 13) if not changed else (4, 9):
        first = data_of(tiny_world, **settings)
        run(first, stop)
        second = data_of(tiny_world, **settings, **changed)
        second.load_state_dict(first.state_dict())
        assert_equal(run(second, 13 - stop), plain[stop:])
        assert second.state_dict() == unbroken.state_dict()


def test_a_run_goes_on_with_another_number_of_ranks(tiny_world):
    plain = run(data_of(tiny_world), 8)
    before = data_of(tiny_world)
    run(before, 3)
    parts = []
    for rank in (0, 1):
        data = data_of(tiny_world, rank, 2)
        data.load_state_dict(before.state_dict())
        parts.append(run(data, 5))
    for batch, first, second in zip(plain[3:], *parts, strict=True):
        assert torch.equal(batch.clips, torch.cat([first.clips, second.clips]))


@pytest.mark.parametrize("image_masks", [None, [MultiBlockTubes(1, (0.5, 0.5))]])
def test_images_have_tokens_of_one_frame_and_masks_of_their_own(tiny_world, tmp_path, image_masks):
    settings = mixture(tiny_world, tmp_path)
    settings["mixture"] = [
        Source(str(tiny_world / "train.csv")),
        Source(str(tmp_path / "pictures"), num_frames=1, name="images"),
        Source(str(tiny_world / "val.csv"), num_frames=1, name="single frames"),
    ]
    batches = run(data_of(tiny_world, image_tokenizer=True, image_masks=image_masks, **settings), 12)
    assert {batch.clips.shape[2] for batch in batches} == {1, 4}
    assert {source for batch in batches if batch.clips.shape[2] == 1 for source in batch.sources.tolist()} == {1, 2}
    for batch in batches:
        num_tokens = 16 if batch.clips.shape[2] == 1 else 32
        assert len(batch.masks) == (1 if image_masks and num_tokens == 16 else 2)
        for mask in batch.masks:
            ids = torch.cat(mask, dim=1)
            assert torch.equal(ids.sort().values, torch.arange(num_tokens).expand(len(ids), -1))


def test_images_without_an_image_tokenizer_are_refused(tiny_world):
    source = Source(str(tiny_world / "train.csv"), num_frames=1)
    with pytest.raises(ValueError, match=r"num_frames \(1\) must be a multiple of the tubelet's num_frames \(2\)"):
        data_of(tiny_world, train_manifest=None, mixture=[source])


def test_batches_of_a_mixture_hold_one_shape_and_keep_the_weights(tiny_world, tmp_path):
    data = data_of(tiny_world, **mixture(tiny_world, tmp_path))
    batches = run(data, 40)
    assert {batch.clips.shape[2] for batch in batches} == {2, 4}
    counts = np.bincount(torch.cat([batch.sources for batch in batches]).numpy(), minlength=3)
    usage = data.usage()
    assert [usage[name].clips for name in ("train", "val", "images")] == counts.tolist()
    assert counts[0] > counts[1] and np.abs(counts / 160 - (0.5, 0.2, 0.3)).max() < 0.15
    assert usage["train"].seconds == counts[0] * 8 / 16  # 4 frames at every second of 16 per second


def test_a_bucket_of_files_gives_what_the_disk_does_and_resumes(tiny_world):
    bucket = f"file://{tiny_world}"
    plain = run(data_of(tiny_world), 9)
    assert_equal(run(data_of(tiny_world, train_manifest=f"{bucket}/train.csv"), 9), plain)
    first = data_of(tiny_world, train_manifest=f"{bucket}/train.csv")
    run(first, 5)
    second = data_of(tiny_world, train_manifest=f"{bucket}/train.csv", num_workers=2)
    second.load_state_dict(first.state_dict())
    assert_equal(run(second, 4), plain[5:])


@pytest.mark.parametrize(
    ("ranks", "clips", "way_out"), [(3, 1, "ranks .3.; try 6"), (4, 2, "ranks .4. times clips_per_video .2.; try 8")]
)
def test_a_batch_that_ranks_cannot_share_is_refused_with_one_that_they_can(tiny_world, ranks, clips, way_out):
    with pytest.raises(ValueError, match=rf"global_batch_size .4. must be a multiple of the number of {way_out}"):
        data_of(tiny_world, 0, ranks, clips_per_video=clips).train_dataloader()


def test_two_sources_of_one_name_are_refused(tiny_world):
    twice = [Source(str(tiny_world / "train.csv")), Source(str(tiny_world / "train.csv"))]
    with pytest.raises(
        ValueError, match=r"two sources of the mixture have one name .train, train.; give each a `name`"
    ):
        data_of(tiny_world, train_manifest=None, mixture=twice)


def test_a_batch_that_arrived_but_was_not_trained_on_comes_again_after_resume(tiny_world):
    data = data_of(tiny_world)
    trained = data.trainer.fit_loop.epoch_loop.batch_progress.total
    batches = iter(data.train_dataloader())
    data.on_after_batch_transfer(next(batches), 0)
    nothing = {"position": 0, "batches_into_epoch": 0, "usage": {"train": {"clips": 0, "seconds": 0.0}}}
    one_batch = {"position": 4, "batches_into_epoch": 1, "usage": {"train": {"clips": 4, "seconds": 4 * 8 / 16}}}
    assert data.state_dict() == nothing
    trained.processed += 1
    assert data.state_dict() == one_batch
    data.on_after_batch_transfer(next(batches), 0)
    assert data.state_dict() == one_batch


# --- the trainer's flags that change an epoch's length; 26 clips in batches of 4 make 6 of them


class _Seen(Callback):
    """Positions of the batches that a run has trained on."""

    def __init__(self):
        self.positions: list[int] = []
        self.clips = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.positions.append(batch.positions[0].item())
        self.clips.append(batch.clips)


class _Model(LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch, batch_idx):
        return self.weight * batch.clips.float().mean()

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def train(world, folder, resume=None, num_workers=0, callbacks=(), **flags) -> tuple[Trainer, _Seen]:
    data = ClipDataModule(
        masks=[MultiBlockTubes(4)],
        num_frames=4,
        frame_step=2,
        crop_size=(32, 32),
        tubelet=(2, 8, 8),
        global_batch_size=4,
        num_workers=num_workers,
        train_manifest=str(world / "train.csv"),
        val_manifest=str(world / "val.csv"),
    )
    seen = _Seen()
    flags = {"max_epochs": -1, "num_sanity_val_steps": 0, **flags}
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(
        accelerator="cpu",
        callbacks=[seen, *callbacks],
        default_root_dir=folder,
        enable_checkpointing=False,
        **quiet,
        **flags,
    )
    trainer.fit(_Model(), data, ckpt_path=resume)
    return trainer, seen


EPOCHS = {"max_epochs": 5}


@pytest.mark.parametrize(
    ("flags", "steps"),
    [
        (EPOCHS | {"limit_train_batches": 4}, 20),
        (EPOCHS | {"limit_train_batches": 0.5}, 15),
        (EPOCHS | {"limit_train_batches": 9}, 30),
        (EPOCHS | {"limit_train_batches": 4, "accumulate_grad_batches": 2}, 20),
        (EPOCHS | {"limit_train_batches": 4, "reload_dataloaders_every_n_epochs": 1}, 20),
        (EPOCHS | {"limit_train_batches": 4, "check_val_every_n_epoch": 2, "num_sanity_val_steps": 2}, 20),
        (EPOCHS | {"limit_train_batches": 4, "val_check_interval": 0.5, "limit_val_batches": 0.5}, 20),
        (EPOCHS | {"limit_train_batches": 4, "num_workers": 1}, 20),
        ({"max_steps": 13, "limit_train_batches": 4}, 13),
        ({"fast_dev_run": 3}, 3),
    ],
)
def test_epochs_that_flags_shorten_go_on_in_the_order(tiny_world, tmp_path, flags, steps):
    trainer, seen = train(tiny_world, tmp_path, **flags)
    assert seen.positions == list(range(0, 4 * steps, 4))
    assert trainer.global_step == steps // flags.get("accumulate_grad_batches", 1) == trainer.estimated_stepping_batches


class _Save(Callback):
    def __init__(self, file, step):
        self.file, self.step = file, step

    def on_train_batch_end(self, trainer, *others):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.file)


@pytest.mark.parametrize("step", [6, 8])  # in the middle and at the end of an epoch
@pytest.mark.parametrize("flag", ["limit_train_batches", "overfit_batches"])
def test_a_run_of_short_epochs_resumes_where_it_was(tiny_world, tmp_path, flag, step):
    flags = EPOCHS | {flag: 4}
    _, whole = train(tiny_world, tmp_path, callbacks=[_Save(tmp_path / "saved.ckpt", step)], **flags)
    trainer, rest = train(tiny_world, tmp_path, resume=tmp_path / "saved.ckpt", **flags)
    assert rest.positions == whole.positions[step:]
    assert trainer.global_step == 20
    assert trainer.datamodule.usage()["train"].clips == 80


@pytest.mark.parametrize("num_batches", [1, 2])
def test_overfitting_sees_the_same_clips_in_every_epoch(tiny_world, tmp_path, num_batches):
    trainer, seen = train(tiny_world, tmp_path, max_epochs=3, overfit_batches=num_batches, num_workers=num_batches - 1)
    assert seen.positions == [4 * batch for batch in range(num_batches)] * 3
    for batch, clips in enumerate(seen.clips):
        assert torch.equal(clips, seen.clips[batch % num_batches])
    assert trainer.datamodule.usage()["train"].clips == 12 * num_batches


def test_an_epoch_that_became_shorter_than_what_was_consumed_ends_once(tiny_world):
    data = data_of(tiny_world)
    run(data, 5)
    data.trainer.fit_loop.trainer.limit_train_batches = 3
    assert [len(list(data.train_dataloader())), data.cursor.position] == [1, 20]
    run(data, 1)
    assert data.cursor == replace(data.cursor, position=24, batches_into_epoch=0)


def test_accumulation_over_more_batches_than_an_epoch_has_is_refused(tiny_world, tmp_path):
    with pytest.raises(ValueError, match=r"accumulate_grad_batches .8. must be at most .* .6.; .*batches=6"):
        train(tiny_world, tmp_path, max_steps=2, accumulate_grad_batches=8)


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="workers can't tell who signals there")
def test_workers_end_when_the_main_process_asks_and_not_when_others_do(tiny_world):
    batches = iter(data_of(tiny_world, num_workers=1).train_dataloader())
    next(batches)
    worker = multiprocessing.active_children()[-1]
    for name in ("TERM", "INT", "TERM"):
        subprocess.run(["kill", f"-{name}", str(worker.pid)], check=True)
    worker.join(timeout=0.5)
    assert worker.is_alive()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's would report the worker as lost
    worker.terminate()
    worker.join(timeout=10)
    assert worker.exitcode == 0
