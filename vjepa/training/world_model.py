"""WorldModel: predicts the latents of frames that follow actions.

A frame encoder, and dynamics that roll its latents forward by actions. V-JEPA 2-AC (arXiv 2506.09985), DINO-WM
(2411.04983), PLDM (2502.14819), EB-JEPA (2602.03604) and LeWorldModel (2603.19312) are one module with other parts. The
model has a frame every `frame_step` raw steps; the raw actions between two frames are an action chunk.
"""

from collections.abc import Callable
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from vjepa.data.clips.batch import normalize_frames
from vjepa.data.episodes.batch import EpisodeBatch
from vjepa.data.episodes.data_module import EpisodeDataModule
from vjepa.data.episodes.training_episodes import TrainingEpisodes
from vjepa.interop.renamed import renamed_world_model_weights
from vjepa.models.dynamics.rollout import Dynamics, OneFrameDynamics, rollout, rollouts_from_every_frame
from vjepa.models.frame_encoder import FrameEncoder, encode_windows
from vjepa.objectives import Objective, Step
from vjepa.objectives.world import FramePrediction, ModelSizes, Rollout, TemporalDistance, WindowStep, WindowTerm
from vjepa.objectives.world.rollout import LatentDistance
from vjepa.objectives.world.temporal_distance import euclidean_distance
from vjepa.planning.cost import DistanceToGoal, squared_difference
from vjepa.planning.limits import ActionLimit
from vjepa.training.action_space import ActionSpace
from vjepa.training.dynamics_phase import DynamicsPhase, LatentEpisodes, phase_losses
from vjepa.training.frame_targets import AverageLatents, FrameTargets, OwnLatents
from vjepa.training.schedule import Schedule
from vjepa.training.scheduled_module import ScheduledModule, run_steps_of


class WorldModel(ScheduledModule):
    """An encoder of frames, and dynamics of its latents.

    Args:
        encoder: `vjepa.models.frame_encoder`'s ConvFrameEncoder or VideoFrameEncoder, or a PretrainedFrameEncoder.
        dynamics: predicts the latent after each action chunk. It is given the encoder's `embed_dim` and the numbers of
            a chunk, so that a recipe gives neither.
        action_dim: numbers of a raw action.
        frame_step: raw steps between two frames.
        terms: of the loss, by name (`vjepa.objectives.world`): `Rollout` alone if None. An entry of None is left out.
        targets: where predicted latents come from: `OwnLatents` (if None), `DetachedLatents` or `AverageLatents` of
            `vjepa.training`.
        freeze_encoder: train only the dynamics.
        rollout_steps: most steps of a rollout, e.g. V-JEPA 2-AC's 2; to the end of the window if None.
        rollout_context: first frames of a window that its rollout observes, e.g. V-JEPA 2-AC's 1; if None those that
            the dynamics look back at, fewer in short windows.
        normalize_actions: give actions zero mean and unit variance before the networks see them; V-JEPA 2-AC does not.
        dynamics_phase: the last steps of the run train only the dynamics, on latents that are encoded once.
        temporal_distance: the planning cost, learned in the dynamics phase; without it the planning cost is the squared
            difference of latents.
        learning_rate, weight_decay, betas, eps: of AdamW; the schedules end where the dynamics phase begins.
        momentum: of the moving average of `AverageLatents`.
    """

    latent_episodes: LatentEpisodes | None

    def training_step(self, batch: EpisodeBatch, batch_idx: int) -> dict[str, Any]:
        if self.in_dynamics_phase:
            step = Step(number=self.global_step, losses=self.phase_losses())
            return self.log_step("train", step, len(batch.frames))
        return super().training_step(batch, batch_idx)

    def step(self, batch: EpisodeBatch) -> WindowStep:
        frames = normalize_frames(batch.frames)  # (B, T, 3, H, W)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_encoder):
            latents = encode_windows(self.encoder, frames)  # (B, T, N, D)
        actions = self.actions.normalized(batch.actions)
        states, extrinsics = (part if part.shape[-1] else None for part in (batch.states, batch.extrinsics))
        first, stop = self.rollout_range(latents.shape[1])
        rollouts = None
        if isinstance(self.dynamics, OneFrameDynamics) and any(
            isinstance(term, Rollout) for term in self.objective.terms
        ):
            rollouts = rollouts_from_every_frame(self.dynamics, latents, actions, num_steps=stop - 1)
            predictions = torch.stack([imagined[:, 0] for imagined in rollouts], dim=1)
        else:
            predictions = rollout(self.dynamics, latents[:, :first], actions[:, : stop - 1], states, extrinsics)
        step = WindowStep(
            number=self.step_number,
            frames=frames,
            latents=latents,
            actions=actions,
            states=states,
            extrinsics=extrinsics,
            episodes=batch.episodes,
            predictions=predictions,
            rollouts=rollouts,
            num_observed=first,
            targets=self.targets(frames, latents),
            dynamics=self.dynamics,
        )
        step.losses = self.objective(step)
        return step

    def update_target(self, step: int, run_steps: int) -> dict[str, float]:
        """Move the target encoder, or in the dynamics phase the target of the temporal distance."""
        if self.in_dynamics_phase:
            if self.temporal_distance is not None:
                self.temporal_distance.update_target()
            return {}
        if not isinstance(self.targets, AverageLatents):
            return {}
        momentum = self.ema_momentum(step, run_steps)
        self.targets.update(self.encoder, momentum)
        return {"schedule/momentum": momentum}

    def rollout_range(self, num_frames: int) -> tuple[int, int]:
        """The positions of the first and behind the last frame that a rollout predicts in a window."""
        context = self.rollout_context or self.dynamics.context
        first = max(1, min(context, num_frames - (self.rollout_steps or 1)))
        return first, num_frames if self.rollout_steps is None else min(num_frames, first + self.rollout_steps)

    def phase_losses(self) -> dict[str, Tensor]:
        """Losses of a step of the dynamics phase. All training episodes are encoded when it begins."""
        phase, distance = self.dynamics_phase, self.temporal_distance
        assert phase is not None
        if self.latent_episodes is None:
            assert self.training_episodes is not None
            self.latent_episodes = LatentEpisodes(
                self.encoder, self.training_episodes, self.frame_step, phase.num_steps, self.device
            )
            if distance is not None:
                distance.fit_standardization(self.latent_episodes.latents)
        # The distance of predicted latents to their targets is that of the rollout term, or another's.
        error = next((term for term in self.objective.terms if isinstance(term, LatentDistance)), Rollout())
        step = self.global_step
        return phase_losses(phase, step, self.latent_episodes, self.dynamics, self.actions, error, distance)

    # For planning and evaluation.

    @torch.no_grad()
    def encode_frames(self, frames: UInt8[np.ndarray, "B H W 3"] | UInt8[Tensor, "B 3 H W"]) -> Float[Tensor, "B N D"]:
        """Latents of single frames. Raises ValueError where they have another size than the model's."""
        if isinstance(frames, np.ndarray):
            frames = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
        if tuple(frames.shape[2:]) != tuple(self.frame_size):
            raise ValueError(
                f"frames of {frames.shape[2]}x{frames.shape[3]} pixels do not fit this model, which takes "
                f"{self.frame_size[0]}x{self.frame_size[1]}; resize them, and the goal"
            )
        return self.encoder(normalize_frames(frames.to(self.device)))

    def imagine(
        self,
        latents: Float[Tensor, "B N D"] | Float[Tensor, "B C N D"],  # the present, or the last C frames
        actions: Float[Tensor, "B _ chunk_dim"],  # raw; C - 1 + H chunks
        states: Float[Tensor, "B C S"] | None = None,  # where the dynamics need them
        extrinsics: Float[Tensor, "B X"] | None = None,
    ) -> Float[Tensor, "B H N D"]:
        """Latents after each action chunk."""
        latents = latents.unsqueeze(1) if latents.ndim == 3 else latents
        return rollout(self.dynamics, latents, self.actions.normalized(actions), states, extrinsics)

    def distance_to(self, goal: Float[Tensor, "N D"]) -> DistanceToGoal:
        """The planning cost: action chunks to the goal, or the squared difference of latents."""
        if self.temporal_distance is None:
            return squared_difference(goal)
        learned, embedded_goal = self.temporal_distance, self.temporal_distance.embed(goal)
        return lambda latents: euclidean_distance(learned.embed(latents), embedded_goal)

    @property
    def action_limit(self) -> ActionLimit | None:
        return self.actions.limit

    @property
    def embed_dim(self) -> int:
        return self.encoder.embed_dim

    @property
    def frame_size(self) -> tuple[int, int]:
        return self.encoder.frame_size

    @property
    def action_dim(self) -> int:
        return self.actions.action_dim

    @property
    def frame_step(self) -> int:
        return self.actions.frame_step

    def __init__(
        self,
        encoder: FrameEncoder,
        dynamics: Callable[[int, int], Dynamics],
        action_dim: int,
        frame_step: int = 4,
        terms: dict[str, WindowTerm | None] | None = None,
        targets: FrameTargets | None = None,
        freeze_encoder: bool = False,
        rollout_steps: int | None = None,
        rollout_context: int | None = None,
        normalize_actions: bool = True,
        dynamics_phase: DynamicsPhase | None = None,
        temporal_distance: Callable[[int], TemporalDistance] | None = None,
        learning_rate: Schedule = Schedule(start=1e-5, peak=1e-3, end=1e-6, warmup_steps=300),  # noqa: B008 (frozen)
        weight_decay: Schedule = Schedule(peak=1e-5),  # noqa: B008 (frozen)
        momentum: Schedule = Schedule(peak=0.99),  # noqa: B008 (frozen)
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ):
        super().__init__(learning_rate, weight_decay, betas, eps)
        self.actions = ActionSpace(action_dim, frame_step)
        self.encoder = encoder.requires_grad_(not freeze_encoder)
        self.targets = targets or OwnLatents()
        self.targets.build(encoder)
        self.dynamics = dynamics(encoder.embed_dim, self.actions.chunk_dim)
        self.objective = Objective(terms or {"rollout": Rollout()})
        sizes = ModelSizes(encoder.embed_dim, self.actions.chunk_dim, encoder.frame_size, encoder.static_dim)
        for term in reversed(self.objective.terms):  # in this order a seed draws the same weights as ever
            term.build(sizes)
        self.temporal_distance = None if temporal_distance is None else temporal_distance(encoder.embed_dim)
        self.freeze_encoder = freeze_encoder
        self.rollout_steps = rollout_steps
        self.rollout_context = rollout_context
        self.normalize_actions = normalize_actions
        self.dynamics_phase = dynamics_phase
        self.momentum = momentum
        self.training_episodes: TrainingEpisodes | None = None  # handed over by the data module
        self.latent_episodes = None
        self._check()

    @property
    def in_dynamics_phase(self) -> bool:
        return self.dynamics_phase is not None and self.global_step >= self._steps_before_phase()

    def _steps_before_phase(self) -> int:
        return run_steps_of(self.trainer) - (0 if self.dynamics_phase is None else self.dynamics_phase.steps)

    def scheduled_step(self) -> tuple[int, int, Schedule]:
        step, run_steps = self.global_step + 1, self._steps_before_phase()
        if self.dynamics_phase is None or step <= run_steps:
            return step, run_steps, self.learning_rate
        return step - run_steps, self.dynamics_phase.steps, self.dynamics_phase.learning_rate

    def trained_parts(self) -> list[nn.Module]:
        parts = (self.encoder, self.dynamics, self.objective, self.temporal_distance)
        return [part for part in parts if part is not None]

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.freeze_encoder:
            self.encoder.eval()
        return self

    def setup(self, stage: str) -> None:
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, EpisodeDataModule):
            return
        for name, own, found in (
            ("action_dim", self.action_dim, data.action_dim),
            ("frame_step", self.frame_step, data.frame_step),
            ("frame size", tuple(self.frame_size), tuple(data.frame_size)),
        ):
            if own != found:
                raise ValueError(f"the model's {name} is {own}, the data's is {found}; make them equal")
        if stage != "fit":
            return
        if self.dynamics_phase is not None and self.trainer.world_size > 1:
            raise ValueError(
                f"a dynamics phase runs on one device, not on {self.trainer.world_size}; give "
                f"--model.dynamics_phase=null, and afterwards a run of one device with freeze_encoder: true"
            )
        self.training_episodes = data.training_episodes
        if self.normalize_actions:
            self.actions.fit_normalization(*self.training_episodes.action_statistics())
        if self.encoder.standardize:
            frames = torch.from_numpy(self.training_episodes.sample_frames()).permute(0, 3, 1, 2)
            self.encoder.fit_standardization(normalize_frames(frames))
        if data.action_limit is not None:
            self.actions.set_limit(data.action_limit)

    def on_fit_start(self) -> None:
        """Raise ValueError where the dynamics phase leaves no step to train the encoder."""
        super().on_fit_start()
        phase, before = self.dynamics_phase, self._steps_before_phase()
        is_trial = self.trainer.fast_dev_run  # type: ignore[attr-defined]
        if phase is not None and not is_trial and before < (0 if self.freeze_encoder else 1):
            raise ValueError(
                f"a dynamics phase of {phase.steps} steps leaves no step of the run's {before + phase.steps} to train "
                f"the encoder; give a longer run (--trainer.max_steps), a shorter phase (--model.dynamics_phase.steps) "
                f"or none (--model.dynamics_phase=null --model.temporal_distance=null)"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.encoder.settings is not None:
            checkpoint["encoder_settings"] = self.encoder.settings

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = renamed_world_model_weights(checkpoint)
        if "TrajectoryDataModule" in checkpoint:  # its name in older versions; Lightning finds its state by the name
            checkpoint[EpisodeDataModule.__qualname__] = checkpoint.pop("TrajectoryDataModule")
        super().on_load_checkpoint(checkpoint)

    def _check(self) -> None:
        """Raise ValueError where parts do not fit each other."""
        if self.rollout_steps is not None and self.rollout_steps < 1:
            raise ValueError(f"rollout_steps ({self.rollout_steps}) must be at least 1, or null for all")
        if self.rollout_context is not None and not 1 <= self.rollout_context <= self.dynamics.context:
            raise ValueError(
                f"rollout_context ({self.rollout_context}) must be from 1 to the dynamics' context "
                f"({self.dynamics.context}), or null for all of it"
            )
        if self.dynamics.needs_raw_actions and self.normalize_actions:
            raise ValueError(
                "these dynamics move states by actions in the data's units (state_update: pose); give "
                "--model.normalize_actions=false"
            )
        if self.dynamics_phase is not None and self.dynamics.needs_states:
            raise ValueError("a dynamics phase has no states; leave it out for dynamics that need them")
        if self.temporal_distance is not None and self.dynamics_phase is None:
            raise ValueError(
                "a temporal distance is learned in the dynamics phase, and there is none; give "
                "--model.dynamics_phase.steps=6000"
            )
        decodes_frames = any(isinstance(term, FramePrediction) for term in self.objective.terms)
        if decodes_frames and (self.freeze_encoder or isinstance(self.targets, AverageLatents)):
            raise ValueError(
                "frame prediction trains the encoder by decoded frames; leave out freeze_encoder and AverageLatents"
            )
        if not any(term.dynamics_weight for term in self.objective.terms):
            raise ValueError("no term with a weight predicts latents, so that nothing would train the dynamics")
