"""Recipes and weights of world models from before the table of terms."""

from typing import Any

import torch

from vjepa.interop.renamed import renamed, renamed_world_model_weights

OLD: dict[str, Any] = {
    "class_path": "vjepa.training.WorldModel",
    "init_args": {
        "action_dim": 2,
        "frame_step": 4,
        "encoder": {
            "class_path": "vjepa.models.frame_encoder.ConvFrameEncoder",
            "init_args": {"embed_dim": 20, "lasting_dim": 8},
        },
        "dynamics": {
            "class_path": "vjepa.models.dynamics.ResidualDynamics",
            "init_args": {"embed_dim": 20, "action_dim": 8, "depth": 3},
        },
        "inverse_dynamics": {"embed_dim": 20, "action_dim": 8},
        "lasting_dim": 8,
        "episode_contrast": {"projector": {"input_dim": 8, "hidden_dim": 128}, "temperature": 0.1},
        "episode_regularizer": {"class_path": "vjepa.objectives.VarianceCovariance"},
        "rollout_weight": 2.0,
        "loss_exponent": 1.0,
        "time_similarity_weight": 12.0,
        "targets": "average",
        "temporal_distance": {"embed_dim": 20, "imagined_blocks": 4},
        "learning_rate": {"peak": 2.0e-3},
    },
}
WORLD = "vjepa.objectives.world"


def test_an_old_loss_becomes_a_table_of_terms():
    new, notes = renamed(OLD)
    arguments = new["init_args"]
    assert arguments["terms"] == {
        "rollout": {"class_path": f"{WORLD}.Rollout", "init_args": {"weight": 2.0, "exponent": 1.0}},
        "time_similarity": {"class_path": f"{WORLD}.TimeSimilarity", "init_args": {"weight": 12.0}},
        "straightening": {"class_path": f"{WORLD}.Straightening", "init_args": {"weight": 0.0}},
        "inverse_dynamics": {"class_path": f"{WORLD}.InverseDynamicsTerm", "init_args": {"weight": 1.0}},
        "episode_contrast": {
            "class_path": f"{WORLD}.EpisodeContrast",
            "init_args": {"temperature": 0.1, "hidden_dim": 128},
        },
        "episode_regularizer": {
            "class_path": f"{WORLD}.EpisodeRegularization",
            "init_args": {"regularizer": {"class_path": "vjepa.objectives.VarianceCovariance"}},
        },
    }
    assert arguments["encoder"]["init_args"] == {"embed_dim": 20, "static_dim": 8}
    assert arguments["dynamics"]["init_args"] == {"depth": 3}
    assert arguments["temporal_distance"] == {"imagined_chunks": 4}
    assert arguments["targets"] == {"class_path": "vjepa.training.AverageLatents"}
    assert set(arguments) == {*OLD["init_args"], "terms"} - {
        *("inverse_dynamics", "lasting_dim", "episode_contrast", "episode_regularizer"),
        *("rollout_weight", "loss_exponent", "time_similarity_weight"),
    }
    assert any("a world model's loss is a table of `terms`" in note for note in notes)
    assert renamed(new) == (new, [])


def test_a_static_part_that_differs_from_the_encoders_stays():
    old = {**OLD, "init_args": {**OLD["init_args"], "lasting_dim": 4}}
    terms = renamed(old)[0]["init_args"]["terms"]
    assert {terms[name]["init_args"]["static_dim"] for name in ("episode_contrast", "episode_regularizer")} == {4}


def test_an_old_twin_of_pixels_has_its_term():
    old = {**OLD, "init_args": {**OLD["init_args"], "predicts": "pixels", "targets": "self"}}
    arguments = renamed(old)[0]["init_args"]
    assert list(arguments["terms"]) == ["inverse_dynamics", "frames"]
    assert arguments["terms"]["frames"]["init_args"] == {"rollout_weight": 2.0}
    assert "targets" not in arguments


def test_a_recipe_of_today_is_left_as_it_is():
    terms = {"rollout": {"class_path": f"{WORLD}.Rollout"}}
    recipe = {"class_path": "vjepa.training.WorldModel", "init_args": {"action_dim": 2, "terms": terms}}
    assert renamed(recipe) == (recipe, [])


def test_old_weights_have_todays_names():
    old = ("encoder.moving.0.bias", "dynamics.of_latent.bias", "inverse_dynamics.network.0.bias", "action_mean")
    old += ("episode_contrast.projector.0.bias", "regularizer.projector.0.bias", "target_encoder.moving.0.bias")
    old += ("target_encoder.stem.bias", "decoder.doublings.0.bias", "limit_size", "temporal_distance.mean")
    weights = renamed_world_model_weights({"state_dict": dict.fromkeys(old, 0), "limit_kind": "norm"})
    assert weights.pop("actions.limit_is_norm") == torch.tensor(True)
    assert list(weights) == [
        *("encoder.dynamic_head.0.bias", "dynamics.latent_layer.bias"),
        *("objective.inverse_dynamics.network.network.0.bias", "actions.mean"),
        "objective.episode_contrast.contrast.projector.0.bias",
        "objective.regularizer.regularizer.projector.0.bias",
        *("targets.encoder.dynamic_head.0.bias", "targets.encoder.stem.bias"),
        *("objective.frames.decoder.doublings.0.bias", "actions.limit_size", "temporal_distance.mean"),
    ]
    assert renamed_world_model_weights({"state_dict": weights}) == weights
