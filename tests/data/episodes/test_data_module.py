"""Windows follow from seed and position alone, stay within their episode, and hold what leads from frame to frame."""

import itertools

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from tests.data.episodes.tiny_episodes import LENGTHS, assert_counts, write_collection, write_npz, write_table_of_videos
from tests.quiet_trainer import quiet_trainer
from vjepa.data.episodes.batch import EpisodeBatch
from vjepa.data.episodes.data_module import EpisodeDataModule
from vjepa.data.episodes.formats.detection import open_episodes
from vjepa.data.episodes.windows import WindowOrder, Windows
from vjepa.data.ordered_data_module import Cursor


class _Run:
    """As much of a Trainer as a data module asks for."""

    training = True

    def __init__(self, rank: int = 0, world_size: int = 1):
        self.global_rank, self.world_size = rank, world_size
        self.fit_loop = Trainer(logger=False, enable_checkpointing=False).fit_loop


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """40 episodes of 9 to 20 frames, of which every second is stored."""
    lengths = [9 + (7 * k) % 12 for k in range(40)]
    return write_collection(
        tmp_path_factory.mktemp("counted") / "made", [min(n, 20) for n in lengths], frame_interval=2
    )


def data_of(root, rank: int = 0, world_size: int = 1, **settings) -> EpisodeDataModule:
    data = EpisodeDataModule(str(root), **{"frame_step": 2, "num_steps": 2, "global_batch_size": 8, **settings})
    data.trainer = _Run(rank, world_size)
    data.setup("fit")
    return data


def run(data: EpisodeDataModule, num_batches: int) -> list[EpisodeBatch]:
    """That many batches, as a run would take them, over as many epochs as they need."""
    batches: list[EpisodeBatch] = []
    while len(batches) < num_batches:
        for batch in itertools.islice(data.train_dataloader(), num_batches - len(batches)):
            batches.append(data.on_after_batch_transfer(batch, 0))
            data.trainer.fit_loop.epoch_loop.batch_progress.total.processed += 1
    return batches


def assert_equal(ours: list[EpisodeBatch], theirs: list[EpisodeBatch]) -> None:
    for mine, yours in zip(ours, theirs, strict=True):
        for name in EpisodeBatch._fields:
            assert torch.equal(getattr(mine, name), getattr(yours, name)), name


# --- what is in a batch


@pytest.mark.parametrize(("frame_step", "num_steps"), [(2, 1), (2, 4), (4, 2)])
def test_action_chunks_lead_from_frame_to_frame(counted, frame_step, num_steps):
    data = data_of(counted, frame_step=frame_step, num_steps=num_steps)
    for batch in data.train_dataloader():
        assert batch.frames.shape == (8, num_steps + 1, 3, 32, 48) and batch.frames.dtype == torch.uint8
        assert batch.actions.shape == (8, num_steps, frame_step * 2) and batch.actions.dtype == torch.float32
        assert batch.states.shape == (8, num_steps + 1, 2) and batch.extrinsics.shape == (8, 0)
        assert_counts(batch, frame_step)
        ends = batch.starts + num_steps * frame_step
        assert (ends <= torch.from_numpy(data.store.lengths)[batch.episodes]).all()


def test_every_window_within_an_episode_comes_once_in_a_pass(counted):
    data = data_of(counted, val_fraction=0.0, global_batch_size=4)
    expected = {
        (episode, start) for episode, length in enumerate(data.store.lengths) for start in range(0, length - 4 + 1, 2)
    }
    order = WindowOrder(data.train_windows, seed=3)
    for sweep in range(2):
        positions = np.arange(len(expected)) + sweep * len(expected)
        seen = list(zip(*map(np.ndarray.tolist, order.windows_at(positions)), strict=True))
        assert len(seen) == len(expected) and set(seen) == expected
    assert data.batches_per_epoch == len(expected) // 4


def test_windows_of_an_episode_are_adjacent_with_different_starts(counted):
    data = data_of(counted, windows_per_episode=4, num_steps=1)
    seen = set()
    for batch in run(data, 60):
        groups, starts = batch.episodes.reshape(2, 4), batch.starts.reshape(2, 4)
        assert (groups == groups[:, :1]).all()
        assert all(len(set(row.tolist())) == 4 for row in starts)
        seen |= set(zip(batch.episodes.tolist(), batch.starts.tolist(), strict=True))
        assert_counts(batch, 2)
    assert len(seen) > 0.9 * len(data.train_windows)


def test_an_episode_with_fewer_starts_repeats_them(tmp_path):
    store = open_episodes(write_npz(tmp_path, (6, 6)))
    order = WindowOrder(Windows(store, np.arange(2), 2, 2), seed=0, windows_per_episode=3)
    episodes, starts = order.windows_at(np.arange(6))
    assert sorted(episodes.tolist()) == [0, 0, 0, 1, 1, 1]
    assert set(starts[:3].tolist()) == {0, 1} == set(starts[3:].tolist())


# --- order


@pytest.mark.parametrize("settings", [{}, {"windows_per_episode": 2}])
def test_a_run_that_stops_at_any_batch_goes_on_as_if_it_had_not(counted, settings):
    unbroken = data_of(counted, **settings)
    epoch = unbroken.batches_per_epoch
    plain = run(unbroken, 2 * epoch + 3)
    for stop in (1, epoch - 1, epoch, epoch + 5):
        first, second = data_of(counted, **settings), data_of(counted, **settings)
        run(first, stop)
        second.load_state_dict(first.state_dict())
        assert_equal(run(second, len(plain) - stop), plain[stop:])
        assert second.state_dict() == unbroken.state_dict()


@pytest.mark.parametrize("settings", [{}, {"windows_per_episode": 2}])
def test_two_ranks_together_see_what_one_does(counted, settings):
    on_one_rank, *on_two = (data_of(counted, rank, ranks, **settings) for rank, ranks in ((0, 1), (0, 2), (1, 2)))
    whole = run(on_one_rank, 30)
    parts = [run(data, 30) for data in on_two]
    for batch, *halves in zip(whole, *parts, strict=True):
        for name in EpisodeBatch._fields:
            assert torch.equal(getattr(batch, name), torch.cat([getattr(half, name) for half in halves])), name
    assert {data.cursor for data in on_two} == {on_one_rank.cursor}


def test_windows_do_not_depend_on_the_number_of_workers(counted, tmp_path):
    videos = write_table_of_videos(tmp_path)
    for root, settings in ((counted, {}), (videos, {"global_batch_size": 4, "val_fraction": 0.0})):
        assert_equal(run(data_of(root, num_workers=2, **settings), 8), run(data_of(root, **settings), 8))


def test_another_seed_is_another_order_of_the_same_split(counted):
    one, other = data_of(counted), data_of(counted, seed=1)
    assert not torch.equal(next(iter(one.train_dataloader())).starts, next(iter(other.train_dataloader())).starts)
    for ours, theirs in zip(one.split, other.split, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_batch_that_arrived_but_was_not_trained_on_comes_again_after_resume(counted):
    data = data_of(counted)
    batches = iter(data.train_dataloader())
    data.on_after_batch_transfer(next(batches), 0)
    assert data.state_dict() == {"position": 0, "batches_into_epoch": 0}
    data.trainer.fit_loop.epoch_loop.batch_progress.total.processed += 1
    assert data.state_dict() == {"position": 8, "batches_into_epoch": 1}


class _Recorder(LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[list[int]] = []
        self.validated: list[int] = []

    def training_step(self, batch: EpisodeBatch, batch_idx: int):
        self.seen.append(batch.positions.tolist())
        return self.weight * batch.frames.float().mean()

    def validation_step(self, batch: EpisodeBatch, batch_idx: int):
        self.validated += batch.episodes.tolist()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def test_a_trainer_goes_on_from_its_checkpoint_in_the_middle_of_an_epoch(counted, tmp_path):
    plain, first, second = _Recorder(), _Recorder(), _Recorder()
    settings = {"use_distributed_sampler": False, "val_check_interval": 5, "num_sanity_val_steps": 0}

    def data():
        return EpisodeDataModule(str(counted), frame_step=2, num_steps=2, global_batch_size=8)

    quiet_trainer(tmp_path, max_steps=30, **settings).fit(plain, data())
    stopped = quiet_trainer(tmp_path, max_steps=7, **settings)
    stopped.fit(first, data())
    stopped.save_checkpoint(tmp_path / "stopped.ckpt")
    resumed = quiet_trainer(tmp_path, max_steps=30, **settings)
    resumed.fit(second, data(), ckpt_path=str(tmp_path / "stopped.ckpt"))
    assert first.seen + second.seen == plain.seen
    assert set(plain.validated) == set(resumed.datamodule.split[1].tolist())


# --- splits and what else is known of the data


def test_validation_has_episodes_of_its_own_in_windows_that_do_not_overlap(counted):
    data = data_of(counted, val_fraction=0.2)
    train, val = data.split
    assert len(val) == 8 and not set(train) & set(val) and len(train) + len(val) == 40
    batches = list(data.val_dataloader())
    seen = [pair for b in batches for pair in zip(b.episodes.tolist(), b.starts.tolist(), strict=True)]
    assert {episode for episode, _ in seen} == set(val.tolist())
    assert all(start % 4 == 0 for _, start in seen)
    assert len(set(seen)) == len(data.val_windows) <= len(seen) < len(data.val_windows) + 8
    assert data_of(counted, val_fraction=0.0).val_dataloader() == []


def test_fewer_episodes_are_part_of_more(counted):
    few, more, all_of_them = (data_of(counted, episodes=count) for count in (3, 0.5, None))
    assert len(few.split[0]) == 3 and len(more.split[0]) == 19 and len(all_of_them.split[0]) == 38
    assert set(few.split[0]) < set(more.split[0]) < set(all_of_them.split[0])
    np.testing.assert_array_equal(few.split[1], all_of_them.split[1])


def test_statistics_are_those_of_raw_actions_in_training(counted):
    data = data_of(counted, episodes=1)
    [episode] = data.split[0].tolist()
    mean, std = data.training_episodes.action_statistics()
    times = np.arange(data.store.lengths[episode])
    np.testing.assert_allclose(mean, [times.mean(), episode], rtol=1e-6)
    np.testing.assert_allclose(std, [times.std(), 1.0], rtol=1e-6)  # the episode's number never changes
    assert mean.dtype == std.dtype == np.float32


def test_facts_are_known_before_setup(counted):
    data = EpisodeDataModule(str(counted), frame_step=2)
    assert (data.action_dim, data.state_dim, data.frame_size) == (2, 2, (32, 48))
    assert (data.action_limit.size, data.action_limit.kind) == (2.0, "norm") and data.frame_step == 2


def test_a_rate_becomes_a_step(tmp_path):
    root = write_table_of_videos(tmp_path)  # 10 frames per second
    for rate, step in ((10.0, 1), (5.0, 2), (4.0, 3), (60.0, 1)):
        assert data_of(root, frames_per_second=rate, global_batch_size=2).frame_step == step
    batch = next(iter(data_of(root, frames_per_second=4.0, global_batch_size=2).train_dataloader()))
    assert batch.actions.shape == (2, 2, 6)
    assert_counts(batch, frame_step=3)
    with pytest.raises(ValueError, match=r"frames_per_second \(4.0\) needs recordings of one known rate"):
        data_of(write_npz(tmp_path / "npz"), frames_per_second=4.0)


# --- what is refused, and what is left out


def test_episodes_that_hold_no_window_are_left_out(tmp_path):
    root = write_npz(tmp_path)
    data = data_of(root, num_steps=7, val_fraction=0.0, global_batch_size=2)
    assert LENGTHS == (20, 14, 9, 17)
    assert data.split[0].tolist() == [0, 3]
    with pytest.raises(ValueError, match=r"all 4 episodes are too short .* = 40 raw steps, the longest has 19; try"):
        data_of(root, num_steps=20)


def test_one_episode_is_for_training(tmp_path):
    data = data_of(write_npz(tmp_path, (9,)), global_batch_size=2)
    assert data.split[0].tolist() == [0] and data.split[1].tolist() == []
    with pytest.raises(ValueError, match="no episodes to validate on: give a val_fraction above 0"):
        data.setup("validate")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frame_step": 3}, r"frame_step \(3\) must be a multiple of the 2 raw steps .* try 4"),
        ({"num_steps": 0}, r"num_steps \(0\) must be at least 1"),
        ({"global_batch_size": 0}, r"global_batch_size \(0\) must be at least 1"),
        ({"windows_per_episode": 3}, r"global_batch_size \(8\) must be a multiple of windows_per_episode \(3\); try 9"),
        ({"val_fraction": 1.0}, r"val_fraction \(1.0\) must be at least 0 and less than 1"),
        ({"episodes": 0}, r"episodes \(0\) must be a number of at least 1, or a fraction"),
        ({"episodes": 1.5}, r"episodes \(1.5\) must be"),
        ({"frames_per_second": 0.0}, r"frames_per_second \(0.0\) must be more than 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(counted, settings, message):
    with pytest.raises(ValueError, match=message):
        data_of(counted, **settings)


@pytest.mark.parametrize(("ranks", "windows", "way_out"), [(3, 1, 9), (8, 2, 16)])
def test_a_batch_that_ranks_cannot_divide_is_refused_with_one_that_they_can(counted, ranks, windows, way_out):
    with pytest.raises(ValueError, match=rf"ranks \({ranks}\).*; try {way_out}$"):
        data_of(counted, 0, ranks, windows_per_episode=windows).train_dataloader()


@pytest.mark.parametrize("cache_gigabytes", [2.0, 0.0])
def test_windows_that_cannot_be_read_are_replaced_from_seed_and_position(tmp_path, caplog, cache_gigabytes):
    root = write_table_of_videos(tmp_path)
    settings = {"val_fraction": 0.0, "global_batch_size": 4, "cache_gigabytes": cache_gigabytes}
    data = data_of(root, **settings)
    (root / "clips/0.mp4").write_bytes(b"broken after it was looked at")
    batches = run(data, 6)
    for batch in batches:
        assert 0 not in batch.episodes
        assert_counts(batch, 2)
    assert "a window can't be read and is replaced: " in caplog.text and "0.mp4 at step" in caplog.text
    again = data_of(root, **settings) if cache_gigabytes is None else data
    again.cursor = Cursor()
    assert_equal(run(again, 6), batches)
    for number in (1, 2, 3):
        (root / f"clips/{number}.mp4").unlink()
    data.store._source._cache.clear()
    data.cursor = Cursor()
    with pytest.raises(ValueError, match="16 windows in a row can't be read"):
        run(data, 1)


def test_a_frame_of_a_file_that_broke_since_is_named(tmp_path):
    data = EpisodeDataModule(str(write_table_of_videos(tmp_path)), num_steps=2, val_fraction=0)
    data.setup("fit")
    (tmp_path / "clips/0.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"frames of .*0\.mp4 can't be read: .*; leave it out"):
        data.training_episodes.sample_frames()
