"""JEPA on views: alone, where nothing is predicted, and beside the masked prediction."""

import pytest
import torch
from torch import Tensor

from tests.training.test_jepa import CountTargetChanges, batch, jepa, train
from vjepa.data.clips.batch import ClipBatch, Views, normalize_clips
from vjepa.masking import TubeMask
from vjepa.models import VideoEncoder
from vjepa.objectives import LatentPrediction, Projector, VarianceCovariance, ViewAgreement
from vjepa.training import JEPA, Schedule
from vjepa.training.views import embed_views


def agreement() -> ViewAgreement:
    return ViewAgreement(VarianceCovariance(projector=Projector(24, 16, 8)))


def views_of(clips: Tensor, number: int = 3, num_tokens: int = 5) -> Views:
    generator = torch.Generator().manual_seed(1)
    drawn = [torch.randperm(32, generator=generator)[:num_tokens] for _ in range(number * len(clips))]
    return Views(clips=None, token_ids=torch.stack(drawn).sort().values)


def with_views(clips: ClipBatch, *views: Views) -> ClipBatch:
    return clips._replace(views=list(views or [views_of(clips.clips)]))


def without_predictor(**settings) -> JEPA:
    torch.manual_seed(0)
    encoder = VideoEncoder(embed_dim=24, depth=1, num_heads=2, tubelet=(2, 4, 4))
    defaults = {"learning_rate": Schedule(peak=1e-2), "momentum": Schedule(peak=0.5), "terms": {"views": agreement()}}
    return JEPA(encoder, None, **(defaults | settings))


def test_a_view_is_embedded_as_its_tokens_alone():
    encoder, clips = without_predictor().context_encoder, normalize_clips(batch(0, 4).clips)
    views = views_of(clips)
    found = embed_views(encoder, clips, [views])
    assert found is not None and found.shape == (3, 4, 24)
    for clip in range(4):
        for number in range(3):
            alone = encoder(clips[clip : clip + 1], views.token_ids[clip * 3 + number].unsqueeze(0)).mean(1)[0]
            torch.testing.assert_close(found[number, clip], alone, atol=1e-5, rtol=1e-4)


def test_crops_follow_views_of_the_clip():
    encoder, clips = without_predictor().context_encoder, normalize_clips(batch(0, 4).clips)
    crops = torch.randint(0, 255, (8, 3, 4, 8, 8), dtype=torch.uint8)
    found = embed_views(encoder, clips, [views_of(clips), Views(clips=crops, token_ids=None)])
    assert found is not None and found.shape == (5, 4, 24)
    torch.testing.assert_close(found[3:, 1], encoder(normalize_clips(crops[2:4])).mean(1), atol=1e-5, rtol=1e-4)


def test_views_alone_train_and_predict_nothing():
    module, clips = without_predictor(), with_views(batch(0, 8))._replace(masks=[])
    step = module.step(clips)
    assert step.predictions == [] and step.targets is None and step.whole_tokens is None
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimizer, losses = torch.optim.AdamW(trained, 3e-3), []
    for _ in range(20):
        loss = module.step(clips).losses["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert all(parameter.grad is not None for parameter in trained)


def test_views_beside_the_prediction_add_their_term():
    terms = {"prediction": LatentPrediction(), "views": agreement()}
    module, alone = jepa(terms=terms), jepa()
    module.load_state_dict(alone.state_dict() | module.objective.state_dict(prefix="objective."), strict=True)
    clips = with_views(batch(0, 8))
    losses, prediction = module.step(clips).losses, alone.step(clips).losses["loss"]
    views = embed_views(module.context_encoder, normalize_clips(clips.clips), clips.views)
    agreeing = module.objective["views"].regularizer.between(views, 0).loss
    torch.testing.assert_close(losses["loss"], prediction + agreeing)


def test_a_part_of_the_clips_is_predicted_and_all_are_viewed():
    terms = {"prediction": LatentPrediction(), "views": agreement()}
    step = jepa(terms=terms, predicted_fraction=0.25).step(with_views(batch(0, 8)))
    assert {len(part) for part in (step.clips, *step.contexts, *step.predictions, step.targets)} == {2}
    first = jepa().step(
        batch(0, 8)._replace(
            masks=[TubeMask(*(ids[:2] for ids in mask)) for mask in batch(0, 8).masks], clips=batch(0, 8).clips[:2]
        )
    )
    torch.testing.assert_close(step.losses["loss_mask0"], first.losses["loss_mask0"])
    assert step.views.shape[1] == 8


def test_the_average_moves_at_its_interval(tmp_path):
    count = CountTargetChanges()
    train(jepa(momentum_interval=3), tmp_path, 7, [count])
    assert count.changes == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: without_predictor(terms=None), "give model.terms"),
        (lambda: without_predictor(terms={"prediction": LatentPrediction()}), "'prediction' needs a predictor"),
        (lambda: without_predictor(predicted_fraction=0.0), r"predicted_fraction \(0.0\) must be more than 0"),
        (lambda: without_predictor(momentum_interval=0), r"momentum_interval \(0\) must be at least 1"),
        (lambda: jepa(terms={"views": agreement()}).step(batch(0)), "give data.views"),
        (lambda: jepa().step(batch(0)._replace(masks=[])), "give data.masks, or --model.predictor=null"),
    ],
)
def test_what_has_nothing_to_learn_from_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
