"""Networks and their losses against the reference, fp32, 1e-5."""

import pytest
import torch

from tests.parity.golden import Case, action_predictor_of, cases, encoder_of, grid_of, predictor_of
from vjepa.grid import TokenGrid, gather_tokens
from vjepa.masking import TubeMask
from vjepa.models import AttentiveProbe
from vjepa.objectives import ContextPrediction, distance_to_hidden, latent_prediction_loss, normalized_targets

close = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(params=[False, True], ids=["fused attention", "written-out attention"], autouse=True)
def both_attentions(request, monkeypatch):
    monkeypatch.setattr("vjepa.models.layers.written_out_is_faster", lambda key: request.param)


@cases("vjepa2_encoder_*")
@torch.no_grad()
def test_encoder_matches_the_reference(case: Case):
    encoder = encoder_of(case.settings)
    encoder.load_state_dict(case.weights())
    clip = case.tensors["clip"]
    if "out_layers" in case.settings:
        outputs = encoder.forward_levels(clip, case.settings["out_layers"])
        for ours, theirs in zip(outputs, case.numbered("output"), strict=True):
            torch.testing.assert_close(ours, theirs, **close)
        return
    torch.testing.assert_close(encoder(clip), case.tensors["output"], **close)
    for ids, theirs in zip(case.numbered("context_masks"), case.numbered("masked_output"), strict=True):
        torch.testing.assert_close(encoder(clip, ids), theirs, **close)


@cases("vjepa2_predictor_*")
@torch.no_grad()
def test_predictor_matches_the_reference(case: Case):
    predictor = predictor_of(case.settings)
    predictor.load_state_dict(case.weights())
    masks = zip(case.numbered("context_masks"), case.numbered("target_masks"), strict=True)
    for number, (context_ids, target_ids) in enumerate(masks):
        context = case.numbered("context")[number]
        for token in range(case.settings["num_mask_tokens"]):
            ours = predictor(context, TubeMask(context_ids, target_ids), grid_of(case.settings), token)
            torch.testing.assert_close(ours, case.tensors[f"output_mask_token_{token}.{number}"], **close)


@cases("attentive_probe_*")
@torch.no_grad()
def test_attentive_probe_matches_the_reference(case: Case):
    settings = case.settings
    probe = AttentiveProbe(
        settings["embed_dim"],
        [settings["num_classes"]],
        settings["depth"],
        settings["num_heads"],
        settings["mlp_ratio"],
    )
    probe.load_state_dict(case.weights())
    (scores,) = probe(case.tensors["tokens"])
    torch.testing.assert_close(scores, case.tensors["output"], **close)


@cases("vjepa21*")
@torch.no_grad()
def test_levels_and_tokenizers_match_the_reference(case: Case):
    encoder = encoder_of(case.settings)
    encoder.load_state_dict(case.weights("encoder"))
    tensors = case.tensors
    torch.testing.assert_close(encoder(tensors["clip"]), tensors["clip_output"], **close)
    torch.testing.assert_close(encoder.forward_outputs(tensors["clip"]), tensors["clip_hierarchical_output"], **close)
    torch.testing.assert_close(encoder(tensors["image"]), tensors["image_output"], **close)


@cases("vjepa21*")
@pytest.mark.parametrize("modality", ["video", "image"])
@torch.no_grad()
def test_predictions_of_several_levels_match_the_reference(case: Case, modality: str):
    encoder, predictor = encoder_of(case.settings), predictor_of(case.settings)
    encoder.load_state_dict(case.weights("encoder"))
    predictor.load_state_dict(case.weights("predictor"))
    prefix = "image_" if modality == "image" else ""
    clips = case.tensors["image" if modality == "image" else "clip"]
    for number, mask in enumerate(masks_of(case, prefix)):
        context = encoder.forward_outputs(clips, mask.context_ids)
        hidden, visible = predictor.forward_with_context(
            context, mask, encoder.grid_of(clips), is_image=modality == "image"
        )
        torch.testing.assert_close(hidden, case.tensors[f"{prefix}predicted_targets.{number}"], **close)
        torch.testing.assert_close(visible, case.tensors[f"{prefix}predicted_context.{number}"], **close)


@cases("vjepa21*")
@torch.no_grad()
def test_losses_of_several_levels_match_the_reference(case: Case):
    encoder = encoder_of(case.settings)
    encoder.load_state_dict(case.weights("encoder"))
    clips, objective = case.tensors["clip"], ContextPrediction()
    grid = encoder.grid_of(clips)
    targets = normalized_targets(encoder.forward_outputs(clips), encoder.num_output_levels)
    of_targets, of_context = [], []
    for number, mask in enumerate(masks_of(case)):
        torch.testing.assert_close(distance_to_hidden(mask, grid), case.tensors[f"context_distance.{number}"], **close)
        hidden, visible = (case.tensors[f"predicted_{name}.{number}"] for name in ("targets", "context"))
        of_targets.append(latent_prediction_loss(hidden, gather_tokens(targets, mask.target_ids)))
        of_context.append(objective.token_losses(visible, gather_tokens(targets, mask.context_ids), mask, grid).mean())
    torch.testing.assert_close(torch.stack(of_targets).mean(), case.tensors["target_loss"], **close)
    torch.testing.assert_close(torch.stack(of_context).mean(), case.tensors["context_loss"], **close)


@cases("vjepa2ac_predictor_*")
@torch.no_grad()
def test_action_predictor_matches_the_reference(case: Case):
    settings, tensors = case.settings, case.tensors
    predictor = action_predictor_of(settings)
    predictor.load_state_dict(case.weights())
    side = settings["image_size"] // settings["patch_size"]
    grid = TokenGrid(settings["frames"], side, side)
    predicted = predictor(tensors["tokens"], tensors["actions"], tensors["states"], grid, tensors["extrinsics"])
    torch.testing.assert_close(predicted, tensors["output"], **close)


def masks_of(case: Case, prefix: str = "") -> list[TubeMask]:
    pairs = zip(case.numbered(f"{prefix}context_masks"), case.numbered(f"{prefix}target_masks"), strict=True)
    return [TubeMask(context_ids, target_ids) for context_ids, target_ids in pairs]
