"""A world model that acts: one frame in, one action out, for the control loop of a robot or a game."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from vjepa.evaluation.planning.model_policy import ModelPolicy
from vjepa.planning.cost import Over
from vjepa.planning.cross_entropy import CrossEntropyMethod
from vjepa.planning.planner import Planner
from vjepa.training.world_model import WorldModel
from vjepa.training.world_model_run import read_world_model


class Seen(NamedTuple):
    """One frame of a camera, and the state of the body where the dynamics need it."""

    frame: UInt8[np.ndarray, "H W 3"]
    state: Float[np.ndarray, " S"]

    @property
    def states(self) -> Float[np.ndarray, "1 S"]:
        return self.state[None]

    def render(self) -> UInt8[np.ndarray, "1 H W 3"]:
        return self.frame[None]


class Agent:
    """Plans towards a goal's frame, acts, looks again: what `vjepa plan` does in its episodes, step by step.

    Every `frame_step * replan_every` steps of the loop a search runs, from the rest of the last plan; between them an
    action is looked up. docs/world-models.md has the time that both take.

    Args:
        model: a world model; or a run, its checkpoint, or "two_rooms", which comes with the package.
        goal: the frame to reach, (H, W, 3) uint8 RGB in the model's size.
        planner: searches for actions; the cross-entropy method of `configs/plan/two_rooms.yaml` if None.
        replan_every: action chunks of a plan that are executed before the next plan.
        over: latents of an imagined path that count, "path" or "last".
        terminal_weight: of the last latent of a path; the others have 1.
        seed: of the searches.

    Raises ValueError where there is no such world model, its data had no limit of actions, or the goal has another
    size.
    """

    def __init__(
        self,
        model: WorldModel | str | Path,
        goal: UInt8[np.ndarray, "H W 3"],
        planner: Planner | None = None,
        replan_every: int = 2,
        over: Over = "path",
        terminal_weight: float = 1.0,
        seed: int = 0,
    ):
        world_model = model if isinstance(model, WorldModel) else read_world_model(Path(model)).model
        limit = world_model.action_limit
        if limit is None:
            raise ValueError(
                "the model does not know the limit of actions, since its episodes have none; train it on episodes "
                "whose episodes.json names one (docs/own-robot-data.md)"
            )
        search = planner or CrossEntropyMethod(horizon=25)
        self.policy = ModelPolicy(world_model, search, replan_every, over, terminal_weight)
        self.policy.start(np.array([seed]), world_model.action_dim, limit)
        self.set_goal(goal)

    def set_goal(self, goal: UInt8[np.ndarray, "H W 3"]) -> None:
        """Another goal from now on; the next call of `act` plans, and what was seen before is forgotten."""
        self.policy.aim_at(np.asarray(goal)[None])
        self.policy.time = 0

    def act(
        self, frame: UInt8[np.ndarray, "H W 3"], state: Float[np.ndarray, " S"] | None = None
    ) -> Float[np.ndarray, " A"]:
        """The raw action for the next step, after this frame.

        Args:
            frame: (H, W, 3) uint8 RGB, in the model's size.
            state: of the body, for dynamics that need states.

        Raises ValueError where the frame has another size, or a state is missing.
        """
        if state is None and self.policy.model.dynamics.needs_states:
            raise ValueError("these dynamics move states with actions; give act(frame, state)")
        seen = Seen(np.asarray(frame), np.zeros(0) if state is None else np.asarray(state))
        return self.policy.act(seen)[0]
