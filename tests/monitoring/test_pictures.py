"""The pictures callback: what it draws, when, and where it goes."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader

from tests.training.test_jepa import batch, jepa, train
from vjepa.evaluation.captions import LINE, MARGIN
from vjepa.monitoring import Pictures


def test_pictures_are_in_tensorboard_at_each_due_step(tmp_path):
    logger = TensorBoardLogger(tmp_path, "run", "version_0")
    settings = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    pictures = Pictures(every_n_steps=2, num_clips=1)
    trainer = Trainer(accelerator="cpu", logger=logger, callbacks=[pictures], max_epochs=1, **settings)
    trainer.fit(jepa(), DataLoader([batch(step) for step in range(5)], batch_size=None))
    events = EventAccumulator(logger.log_dir, size_guidance={"images": 0})
    events.Reload()
    names = {"mask0", "mask1", "error0", "error1", "features", "neighbours"}
    assert set(events.Tags()["images"]) == {f"pictures/{name}" for name in names}
    drawn = events.Images("pictures/mask0")
    assert [event.step for event in drawn] == [1, 3, 5]
    picture = np.asarray(Image.open(io.BytesIO(drawn[0].encoded_image_string)))
    picture = picture[LINE + MARGIN :]  # below its title
    assert np.array_equal(picture[:16, :16], batch(0).clips[0, :, 0].permute(1, 2, 0).numpy())


def test_nothing_is_drawn_where_it_is_turned_off_or_nobody_shows_it(tmp_path, monkeypatch):
    monkeypatch.setattr(Pictures, "_draw", lambda *_: pytest.fail("it draws"))
    for every_n_steps in (0, 1):  # that trainer has no logger
        train(jepa(), tmp_path, 2, [Pictures(every_n_steps=every_n_steps)])


def test_axes_of_features_are_kept_over_the_run_and_in_its_checkpoints(tmp_path):
    pictures, module = Pictures(every_n_steps=1), jepa()
    pictures._draw(module.step(batch(0)), batch(0), module)
    other = Pictures(every_n_steps=1)
    other.load_state_dict(pictures.state_dict())
    assert torch.equal(other._axes, pictures._axes) and pictures._axes.shape == (24, 3)


def test_where_only_views_are_compared_nearest_clips_are_drawn():
    given, module = batch(0), jepa()
    step = replace(
        module.step(given).detached(),
        masks=[],
        targets=None,
        whole_tokens=None,
        contexts=[],
        predictions=[],
        views=torch.randn(3, len(given.clips), 24),
    )
    assert set(Pictures()._draw(step, given, module)) == {"neighbours"}


def test_settings_that_can_not_be_meant_are_refused():
    with pytest.raises(ValueError, match=r"every_n_steps \(-1\) of the pictures must not be negative \(0 turns"):
        Pictures(every_n_steps=-1)
