"""Encoder and predictor against the reference, fp32, 1e-5."""

import pytest
import torch

from tests.parity.golden import Case, cases, encoder_of, grid_of, predictor_of
from vjepa.masking import TubeMask
from vjepa.models import AttentiveProbe

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
