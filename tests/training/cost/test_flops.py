"""FLOPs by formula are those that torch counts."""

import pytest
import torch

from tests.training.test_jepa import batch
from vjepa.data.clips.batch import ClipBatch, Views
from vjepa.models import Predictor, VideoEncoder
from vjepa.objectives import ContextPrediction, LatentPrediction
from vjepa.training import JEPA, OwnTokens
from vjepa.training.cost.step_cost import flops_of_step, meta_batch

CLIP = (3, (4, 16, 16), ((9, 20), (5, 27)))
ENCODER = {"embed_dim": 24, "depth": 2, "num_heads": 2, "tubelet": (2, 4, 4)}
PREDICTOR = {"encoder_dim": 24, "embed_dim": 12, "depth": 3, "num_heads": 2}
LEVELS = {"output_levels": (0, 1), "image_tokenizer": True, "modality_embeddings": True}


def model_of(encoder=(), predictor=(), **settings) -> JEPA:
    with torch.device("meta"):
        networks = VideoEncoder(**{**ENCODER, **dict(encoder)}), Predictor(**{**PREDICTOR, **dict(predictor)})
        return JEPA(*networks, **settings)


def test_flops_of_a_tiny_step_by_hand():
    with torch.device("meta"):
        encoder = VideoEncoder(embed_dim=12, depth=1, num_heads=2, tubelet=(2, 4, 4))
        predictor = Predictor(encoder_dim=12, embed_dim=12, depth=1, num_heads=2)
        model = JEPA(encoder, predictor)
    patch, block, square = 2 * 96 * 12, 24 * 12**2, 4 * 12
    target = 32 * (patch + block) + square * 32**2
    context = 2 * 9 * patch + 3 * (9 * block + square * 9**2)
    predicted = 3 * (29 * block + square * 29**2 + 9 * 2 * 12**2 + 20 * 2 * 12**2)
    assert model.flops_of(meta_batch(1, (4, 16, 16), ((9, 20),))) == target + context + predicted


@pytest.mark.parametrize(
    "model",
    [
        lambda: model_of(),
        lambda: model_of({"mlp": "swiglu", "position": "sincos"}, {"mlp": "swiglu"}),
        lambda: model_of(LEVELS, {"num_levels": 2, "target_dim": 48, "predict_context": True}, terms=two_terms()),
        lambda: model_of({"class_token": True}),
        lambda: model_of({"attention": "causal", "class_token": True}),
        lambda: model_of(targets=OwnTokens()),
        lambda: model_of(predicted_fraction=0.4),
    ],
    ids=["plain", "swiglu", "levels", "class token", "causal", "own targets", "some clips"],
)
def test_the_formula_is_what_torch_counts(model):
    model = model()
    given = meta_batch(*CLIP)
    assert model.flops_of(given) == flops_of_step(model, given)


def test_a_memory_is_counted_but_for_the_gradient_of_its_start():
    model, given = model_of(predictor={"memory_width": 8}), meta_batch(*CLIP)
    assert model.flops_of(given) == pytest.approx(flops_of_step(model, given), rel=0.01)


def two_terms():
    return {"prediction": LatentPrediction(), "context": ContextPrediction()}


def test_views_and_images_are_counted():
    model = model_of({"class_token": True})
    views = [Views(None, torch.zeros(6, 7, dtype=torch.int64, device="meta"))]
    given = meta_batch(*CLIP)
    alone, together = model.flops_of(given), model.flops_of(given._replace(views=views))
    block, square, patch = 2 * 24 * 24**2, 2 * 4 * 24, 2 * 96 * 24
    assert together - alone == 6 * (2 * 7 * patch + 3 * (8 * block + 64 * square))


def test_other_models_have_no_formula():
    from vjepa.training.scheduled_module import ScheduledModule

    assert ScheduledModule.flops_of(model_of(), ClipBatch(*batch(0))) is None
