"""An oracle: the same planner with the world's own dynamics and true states. What it misses is the planner's fault."""

import numpy as np
import torch
from torch import Tensor

from vjepa.envs.two_rooms import TwoRooms
from vjepa.envs.two_rooms_collision import moved
from vjepa.envs.world import Suite, Tasks, World
from vjepa.evaluation.planning.model_policy import planning_seeds
from vjepa.planning.controller import RecedingHorizon
from vjepa.planning.cost import Over, goal_cost, squared_difference
from vjepa.planning.planner import Planner, Problem


class OraclePolicy:
    """Plans by simulation. A path costs the squared distances to the goal along it, in the suite's unit.

    In Two Rooms these are distances by way of the door: as the crow flies the wall itself would be the nearest place to
    many a goal (70 % of episodes then).

    Args:
        planner, replan_every, over, terminal_weight: as of the model that stands beside it.
        frame_step: raw steps of a block.
    """

    def __init__(
        self,
        planner: Planner,
        frame_step: int,
        replan_every: int = 2,
        over: Over = "path",
        terminal_weight: float = 1.0,
    ):
        self.planner = planner
        self.frame_step = frame_step
        self.replan_every = replan_every
        self.over: Over = over
        self.terminal_weight = terminal_weight
        self.num_plans = 0
        self.plan_seconds = 0.0

    def begin(self, suite: Suite, tasks: Tasks) -> None:
        self.suite = suite
        self.tasks = tasks
        self.controller = RecedingHorizon(self.planner, planning_seeds(tasks), self.replan_every)
        self.time = 0

    def act(self, world: World) -> np.ndarray:  # (B, A)
        block, within = divmod(self.time, self.frame_step)
        planned = block % self.replan_every
        if within == 0 and planned == 0:
            states = world.states
            spent = self.controller.spent
            self.plans = self.controller.plan([self._problem(episode, states) for episode in range(len(states))])
            self.num_plans += self.controller.spent.plans - spent.plans
            self.plan_seconds += self.controller.spent.processor_seconds - spent.processor_seconds
        self.time += 1
        return torch.stack([plan.actions[planned] for plan in self.plans]).numpy()

    def _problem(self, episode: int, states: np.ndarray) -> Problem:
        suite, task = self.suite, self.tasks.rows(slice(episode, episode + 1))
        here = states[episode]

        def distances_along(actions: Tensor) -> Tensor:  # (S, H, A) -> (S, H, 1, 1)
            copies = task.rows(np.zeros(len(actions), int))._replace(starts=np.tile(here, (len(actions), 1)))
            visited = foreseen(suite, copies, actions.double().numpy(), self.frame_step)
            length = suite.route_lengths if isinstance(suite, TwoRooms) else suite.distances
            along = [length(copies, visited[:, step]) for step in range(visited.shape[1])]
            return torch.from_numpy(np.stack(along, axis=1)).float()[..., None, None]

        cost = goal_cost(distances_along, squared_difference(torch.zeros(1, 1)), self.over, self.terminal_weight)
        state, goal = (torch.from_numpy(part[None]).float() for part in (here, task.goals[0]))
        return Problem(cost, state, goal, suite.action_dim, suite.action_limit)


def foreseen(
    suite: Suite,
    tasks: Tasks,  # S of them, whose starts are where one is now
    actions: np.ndarray,  # (S, H, A) one for each block
    frame_step: int,
) -> np.ndarray:  # (S, H, state_dim) states after each block
    """What the world itself would do. What happens by chance later in an episode, an oracle does not know."""
    visited = []
    if isinstance(suite, TwoRooms) and not suite.fork:
        # A block's equal moves are one long move, whose collision is tested all along it.
        places = tasks.starts
        moves = suite.action_limit.bounded_array(actions) * frame_step
        for step in range(moves.shape[1]):
            places = moved(places, moves[:, step], tasks.layouts)
            visited.append(places)
    else:
        world = suite.begin(tasks)
        for step in range(actions.shape[1]):
            for _ in range(frame_step):
                world.step(actions[:, step])
            visited.append(world.states)
    return np.stack(visited, axis=1)
