"""Dynamics: networks that predict the latent after each action."""

from vjepa.models.dynamics.action_predictor import ActionPredictor
from vjepa.models.dynamics.causal import CausalDynamics
from vjepa.models.dynamics.inverse_dynamics import InverseDynamics
from vjepa.models.dynamics.residual import GRUDynamics, ResidualDynamics
from vjepa.models.dynamics.rollout import Dynamics, OneFrameDynamics, rollout
from vjepa.models.dynamics.token_dynamics import TokenDynamics

__all__ = [
    "ActionPredictor",
    "CausalDynamics",
    "Dynamics",
    "GRUDynamics",
    "InverseDynamics",
    "OneFrameDynamics",
    "ResidualDynamics",
    "TokenDynamics",
    "rollout",
]
