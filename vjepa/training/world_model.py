"""WorldModel: what will be seen after an action, in the space of the model's own embeddings.

A frame encoder, and dynamics that roll its latents forward by actions. V-JEPA 2-AC (arXiv 2506.09985), DINO-WM
(2411.04983), PLDM (2502.14819), EB-JEPA (2602.03604) and LeWorldModel (2603.19312) are one module with other parts. A
frame is seen every `frame_step` raw steps; the raw actions in between are one block.
"""

from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vjepa.data.clips.batch import normalize_frames
from vjepa.data.episodes.batch import EpisodeBatch
from vjepa.data.episodes.data_module import EpisodeDataModule
from vjepa.models import frozen_copy, update_ema
from vjepa.models.dynamics.inverse_dynamics import InverseDynamics
from vjepa.models.dynamics.rollout import Dynamics, OneFrameDynamics, rollout, rollouts_from_every_frame
from vjepa.models.frame_decoder import FrameDecoder
from vjepa.models.frame_encoder import FrameEncoder
from vjepa.objectives import ClipContrast, Distance, Regularizer, Step, latent_prediction_loss
from vjepa.objectives.temporal_distance import TemporalDistance, between
from vjepa.objectives.trajectory_shape import straightening, time_similarity
from vjepa.planning.cost import DistanceToGoal, squared_difference
from vjepa.planning.limits import ActionLimit
from vjepa.training.dynamics_phase import DynamicsPhase, LatentEpisodes, pairs_of_step, windows_of_step
from vjepa.training.pretrained_frame_encoder import PretrainedFrameEncoder
from vjepa.training.schedule import Schedule
from vjepa.training.scheduled_module import ScheduledModule, run_steps_of

Predicts = Literal["latents", "pixels"]
FrameTargets = Literal["self", "average"]


class WorldModel(ScheduledModule):
    """Latents of frames, rolled forward by actions.

    Args:
        encoder: of single frames, `vjepa.models`' ConvFrameEncoder, VideoFrameEncoder or PretrainedFrameEncoder.
        dynamics: the latent after each action block; its `embed_dim` must be the encoder's.
        action_dim: numbers of one raw action; those of a block are `frame_step` times as many.
        frame_step: raw steps between two frames that the model sees.
        predicts: "latents": the latents of the frames to come; "pixels": the twin with the same encoder and dynamics
            that must draw the frames to come from them, by a decoder, and has no other term but inverse dynamics.
        targets: whose latents are predicted: "self": the encoder's own; "average": those of its moving average (EMA).
        detach_targets: let no gradient flow into own latents that are predicted.
        freeze_encoder: train the dynamics alone.
        rollout_weight: of the loss over all steps of rollouts that see nothing but their first frames.
        rollout_steps: steps of a rollout at most, as V-JEPA 2-AC's 2; to the end of the window if None.
        rollout_context: frames of a window that its rollout sees, as V-JEPA 2-AC's 1; if None as many as the dynamics
            look back at, and fewer where the window is short. Dynamics that look at one frame start from each anyway.
        teacher_forcing_weight: of the loss of single steps from true latents.
        loss_exponent, distance: of both, as in `JEPA`; 2 is half of the squared error.
        regularizer: keeps latents apart over all frames of a batch: VarianceCovariance, BarlowTwins, SIGReg.
        episode_regularizer: the same for latents less their mean over an episode: what differs within an episode must
            spread, too. Without it a model of worlds with many layouts may embed nothing but the layout. It needs
            several frames of an episode in a batch, as each window has.
        episode_contrast: two windows of one episode must be told from those of other episodes by a frame.
            What lasts over an episode, as a layout does, is then encoded though no term of prediction asks for it. It
            needs windows of an episode one behind the other: `windows_per_episode: 2`.
        lasting_dim: the last so many numbers of a latent are for what lasts: `episode_contrast` looks at them alone,
            `episode_regularizer` at the others. With 0 both look at all.
        time_similarity_weight: of the squared difference between latents of neighbouring frames.
        inverse_dynamics: names the action block between two latents; `inverse_dynamics_weight` is its weight.
        straightening_weight: of 1 - the cosine between one latent change and the next (arXiv 2603.12231).
        normalize_actions: give actions zero mean and unit variance before the networks see them; V-JEPA 2-AC does not.
        dynamics_phase: the last steps of the run train the dynamics alone, on latents that are encoded once.
        temporal_distance: learned in the dynamics phase beside the dynamics, it is what plans are charged by; without
            it they are charged by the squared difference of latents.
        learning_rate, weight_decay, betas, eps: of AdamW; the schedules end where the dynamics phase begins.
        momentum: of the moving average where it gives the targets.
    """

    action_mean: Tensor
    action_std: Tensor
    limit_size: Tensor
    encoder: FrameEncoder

    def __init__(
        self,
        encoder: FrameEncoder,
        dynamics: Dynamics,
        action_dim: int,
        frame_step: int = 4,
        predicts: Predicts = "latents",
        targets: FrameTargets = "self",
        detach_targets: bool = False,
        freeze_encoder: bool = False,
        rollout_weight: float = 1.0,
        rollout_steps: int | None = None,
        rollout_context: int | None = None,
        teacher_forcing_weight: float = 0.0,
        loss_exponent: float = 2.0,
        distance: Distance = "power",
        regularizer: Regularizer | None = None,
        episode_regularizer: Regularizer | None = None,
        episode_contrast: ClipContrast | None = None,
        lasting_dim: int = 0,
        time_similarity_weight: float = 0.0,
        inverse_dynamics: InverseDynamics | None = None,
        inverse_dynamics_weight: float = 1.0,
        straightening_weight: float = 0.0,
        normalize_actions: bool = True,
        dynamics_phase: DynamicsPhase | None = None,
        temporal_distance: TemporalDistance | None = None,
        learning_rate: Schedule = Schedule(start=1e-5, peak=1e-3, end=1e-6, warmup_steps=300),  # noqa: B008 (frozen)
        weight_decay: Schedule = Schedule(peak=1e-5),  # noqa: B008 (frozen)
        momentum: Schedule = Schedule(peak=0.99),  # noqa: B008 (frozen)
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ):
        super().__init__(learning_rate, weight_decay, betas, eps)
        for name, value, known in (("predicts", predicts, Predicts), ("targets", targets, FrameTargets)):
            if value not in get_args(known):
                raise ValueError(f"{name} '{value}' must be one of {', '.join(get_args(known))}")
        _require_parts_that_fit(encoder, dynamics, inverse_dynamics, temporal_distance, action_dim, frame_step)
        if not 0 <= lasting_dim < encoder.embed_dim:
            raise ValueError(
                f"lasting_dim ({lasting_dim}) must be from 0 to below the encoder's embed_dim ({encoder.embed_dim})"
            )
        if rollout_steps is not None and rollout_steps < 1:
            raise ValueError(f"rollout_steps ({rollout_steps}) must be at least 1, or null for all")
        if rollout_context is not None and not 1 <= rollout_context <= dynamics.context:
            raise ValueError(
                f"rollout_context ({rollout_context}) must be from 1 to the dynamics' context ({dynamics.context}), or "
                f"null for all of it"
            )
        if dynamics.needs_raw_actions and normalize_actions:
            raise ValueError(
                "these dynamics move states by actions as the data has them (state_update: pose); give "
                "--model.normalize_actions=false"
            )
        if temporal_distance is not None and dynamics_phase is None:
            raise ValueError(
                "a temporal distance is learned in the dynamics phase, and there is none; give "
                "--model.dynamics_phase.steps=6000"
            )
        if rollout_weight == 0 and teacher_forcing_weight == 0:
            raise ValueError("rollout_weight and teacher_forcing_weight are both 0; nothing would train the dynamics")
        if predicts == "pixels" and (freeze_encoder or targets == "average"):
            raise ValueError(
                "predicts: pixels trains the encoder by what is drawn; leave out freeze_encoder and targets"
            )
        self.encoder = encoder.requires_grad_(not freeze_encoder)
        self.target_encoder = frozen_copy(encoder) if targets == "average" else None
        self.dynamics = dynamics
        self.inverse_dynamics = inverse_dynamics
        self.decoder = FrameDecoder(encoder.embed_dim, encoder.frame_size) if predicts == "pixels" else None
        self.regularizer = regularizer
        self.episode_regularizer = episode_regularizer
        self.episode_contrast = episode_contrast
        self.lasting_dim = lasting_dim
        self.temporal_distance = temporal_distance
        self.dynamics_phase = dynamics_phase
        self.latent_episodes: LatentEpisodes | None = None  # encoded when the dynamics phase begins
        self.action_dim = action_dim
        self.frame_step = frame_step
        self.predicts = predicts
        self.detach_targets = detach_targets
        self.freeze_encoder = freeze_encoder
        self.rollout_weight = rollout_weight
        self.rollout_steps = rollout_steps
        self.rollout_context = rollout_context
        self.teacher_forcing_weight = teacher_forcing_weight
        self.loss_exponent = loss_exponent
        self.distance: Distance = distance
        self.time_similarity_weight = time_similarity_weight
        self.inverse_dynamics_weight = inverse_dynamics_weight
        self.straightening_weight = straightening_weight
        self.normalize_actions = normalize_actions
        self.momentum = momentum
        # Of single raw actions; with `normalize_actions` they enter the networks with zero mean and unit variance.
        self.register_buffer("action_mean", torch.zeros(action_dim))
        self.register_buffer("action_std", torch.ones(action_dim))
        self.register_buffer("limit_size", torch.tensor(0.0))  # of actions in the data's world; 0 where it is unknown
        self.limit_kind: Literal["norm", "box"] = "box"

    @property
    def embed_dim(self) -> int:
        return self.encoder.embed_dim

    @property
    def frame_size(self) -> tuple[int, int]:
        return self.encoder.frame_size

    def step(self, batch: EpisodeBatch) -> Step:
        in_phase = self.training and self.is_in_dynamics_phase
        return Step(number=self.global_step, losses=self.dynamics_losses() if in_phase else self.losses(batch))

    def losses(self, batch: EpisodeBatch) -> dict[str, Tensor]:  # () each; "loss" is minimised
        frames = normalize_frames(batch.frames)  # (B, T, 3, H, W)
        latents = self.encode(self.encoder, frames)  # (B, T, N, D)
        actions = self.normalized_actions(batch.actions)  # (B, T - 1, A)
        known = tuple(part if part.shape[-1] else None for part in (batch.states, batch.extrinsics))
        first, last = self.rollout_range(latents.shape[1])
        predicted = rollout(self.dynamics, latents[:, :first], actions[:, : last - 1], *known)  # (B, K, N, D)
        if self.decoder is not None:
            return self.pixel_losses(frames, latents, predicted, actions)
        targets = self.target_latents(frames, latents)
        of_rollouts = (
            self.distance_of_all_rollouts(latents, targets, actions)
            if isinstance(self.dynamics, OneFrameDynamics)
            else self.distance_between(predicted, targets[:, first:last])
        )
        terms = {"rollout": (self.rollout_weight, of_rollouts), **self.shaping_terms(latents, actions)}
        if self.teacher_forcing_weight:
            of_single_steps = self.distance_between(self.single_steps(latents, actions, *known), targets[:, 1:])
            terms["teacher_forcing"] = (self.teacher_forcing_weight, of_single_steps)
        added, parts = self.regularization(latents, predicted, latents[:, first:last], batch.episodes)
        return {"loss": _weighted_sum(terms) + added, **{name: value for name, (_, value) in terms.items()}, **parts}

    def rollout_range(self, num_frames: int) -> tuple[int, int]:
        """How many frames a rollout sees, and the number of the frame behind its last."""
        context = self.rollout_context or self.dynamics.context
        first = max(1, min(context, num_frames - (self.rollout_steps or 1)))
        return first, num_frames if self.rollout_steps is None else min(num_frames, first + self.rollout_steps)

    def regularization(
        self,
        latents: Tensor,  # (B, T, N, D)
        predicted: Tensor,  # (B, K, N, D)
        seen: Tensor,  # (B, K, N, D) what was predicted
        episodes: Tensor,  # (B,)
    ) -> tuple[Tensor, dict[str, Tensor]]:  # () each: what is added to the loss, and its parts by name
        loss = latents.new_zeros(())
        named: dict[str, Tensor] = {}
        if self.episode_contrast is not None:
            # One frame of each window, in turn: every frame must tell what lasts, and a mean would let some be vague.
            frame = latents[:, self.global_step % latents.shape[1]]
            lasting = frame[..., -self.lasting_dim :]  # (B, N, lasting, or D where that is 0)
            contrast = self.episode_contrast(lasting, lasting, self.global_step)
            loss = loss + contrast.loss
            named |= {f"episode_{name}": value for name, value in contrast.parts.items()}
        if self.regularizer is not None:
            terms = self.regularizer(predicted.flatten(0, 1), seen.flatten(0, 1), self.global_step)
            loss = loss + terms.loss
            named |= {f"regularizer_{name}": value for name, value in terms.parts.items()}
        if self.episode_regularizer is not None:
            moving = self.moving(less_episode_means(latents, episodes)).flatten(0, 1)
            terms = self.episode_regularizer(moving, moving, self.global_step)
            loss = loss + terms.loss
            named |= {f"episode_{name}": value for name, value in terms.parts.items()}
        return loss, named

    def pixel_losses(
        self,
        frames: Tensor,  # (B, T, 3, H, W)
        latents: Tensor,  # (B, T, N, D)
        predicted: Tensor,  # (B, K, N, D) of the last K frames
        actions: Tensor,  # (B, T - 1, A)
    ) -> dict[str, Tensor]:
        """Of frames drawn from their own latents, and from imagined ones."""
        assert self.decoder is not None
        drawn = [self.decoder(part.flatten(0, 1)) for part in (latents, predicted)]
        first, last = self.rollout_range(frames.shape[1])
        to_come = frames[:, first:last]
        terms = {
            "reconstruction": (1.0, (drawn[0] - frames.flatten(0, 1)).square().mean()),
            "rollout": (self.rollout_weight, (drawn[1] - to_come.flatten(0, 1)).square().mean()),
        }
        if self.inverse_dynamics is not None:
            error = F.mse_loss(self.inverse_dynamics(latents[:, :-1], latents[:, 1:]), actions)
            terms["inverse_dynamics"] = (self.inverse_dynamics_weight, error)
        return {"loss": _weighted_sum(terms), **{name: value for name, (_, value) in terms.items()}}

    def shaping_terms(
        self,
        latents: Tensor,  # (B, T, N, D)
        actions: Tensor,  # (B, T - 1, A)
    ) -> dict[str, tuple[float, Tensor]]:  # weight and value
        """What makes the space of latents one to plan in. A term without weight is logged, and not minimised."""
        terms = {"time_similarity": (self.time_similarity_weight, time_similarity(latents))}
        if latents.shape[1] > 2:
            terms["straightening"] = (self.straightening_weight, straightening(latents))
        if self.inverse_dynamics is not None:
            named = self.inverse_dynamics(latents[:, :-1], latents[:, 1:])
            terms["inverse_dynamics"] = (self.inverse_dynamics_weight, F.mse_loss(named, actions))
        return terms

    def distance_of_all_rollouts(
        self,
        latents: Tensor,  # (B, T, N, D)
        targets: Tensor,  # (B, T, N, D)
        actions: Tensor,  # (B, T - 1, A)
    ) -> Tensor:  # ()
        """Of rollouts from every frame of a window to its end, for dynamics that look at one frame."""
        imagined = rollouts_from_every_frame(self.dynamics, latents, actions)[: self.rollout_steps]
        to_come = [targets[:, steps:] for steps in range(1, len(imagined) + 1)]
        return self.distance_between(torch.cat(imagined, dim=1), torch.cat(to_come, dim=1))

    def dynamics_losses(self) -> dict[str, Tensor]:  # () each
        """Of a step of the dynamics phase."""
        assert self.dynamics_phase is not None
        if self.latent_episodes is None:
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            train, _ = data.split
            phase = self.dynamics_phase
            self.latent_episodes = LatentEpisodes(
                self.encoder, data.store, train, self.frame_step, phase.num_steps, self.device
            )
            if self.temporal_distance is not None:
                self.temporal_distance.fit_standard(self.latent_episodes.latents)
        latents, actions = windows_of_step(self.latent_episodes, self.dynamics_phase, self.global_step)
        first = min(self.dynamics.context, self.dynamics_phase.num_steps)
        predicted = rollout(self.dynamics, latents[:, :first], self.normalized_actions(actions))
        terms = {"rollout": (1.0, self.distance_between(predicted, latents[:, first:]))}
        if self.temporal_distance is not None:
            terms["temporal_distance"] = (self.temporal_distance.weight, self.temporal_distance_loss())
        return {"loss": _weighted_sum(terms), **{name: value for name, (_, value) in terms.items()}}

    def temporal_distance_loss(self) -> Tensor:  # ()
        """Of blocks that were done, and of others as the dynamics now imagine them."""
        assert self.temporal_distance is not None and self.dynamics_phase is not None
        assert self.latent_episodes is not None
        count = self.temporal_distance.imagined_blocks
        pairs = pairs_of_step(self.latent_episodes, self.dynamics_phase, count, self.action_limit, self.global_step)
        after = pairs.after.unsqueeze(1)  # (B, 1, N, D)
        if count:
            with torch.no_grad():
                imagined = self.imagine(
                    pairs.latents.repeat_interleave(count, dim=0), pairs.blocks.flatten(0, 1).unsqueeze(1)
                )
            after = torch.cat((after, imagined.unflatten(0, (-1, count)).squeeze(2)), dim=1)
        return self.temporal_distance.loss(pairs.latents, after, pairs.goals, pairs.arrived)

    @property
    def is_in_dynamics_phase(self) -> bool:
        return self.dynamics_phase is not None and self.global_step >= self._steps_before_phase()

    def _steps_before_phase(self) -> int:
        phase = 0 if self.dynamics_phase is None else self.dynamics_phase.steps
        return run_steps_of(self.trainer) - phase

    def moving(
        self,
        latents: Tensor,  # (B, T, N, D)
    ) -> Tensor:  # (B, T, N, D - lasting)
        """Without the numbers that are for what lasts."""
        return latents[..., : self.embed_dim - self.lasting_dim]

    def target_latents(self, frames: Tensor, latents: Tensor) -> Tensor:  # (B, T, N, D)
        if self.target_encoder is not None:
            with torch.no_grad():
                return self.encode(self.target_encoder, frames)
        return latents.detach() if self.detach_targets else latents

    def single_steps(
        self,
        latents: Tensor,  # (B, T, N, D)
        actions: Tensor,  # (B, T - 1, A)
        states: Tensor | None,
        extrinsics: Tensor | None,
    ) -> Tensor:  # (B, T - 1, N, D)
        states = None if states is None else states[:, :-1]
        return self.dynamics(latents[:, :-1], actions, states, extrinsics)

    def distance_between(self, predicted: Tensor, targets: Tensor) -> Tensor:  # ()
        return latent_prediction_loss(predicted, targets, self.loss_exponent, self.distance)

    def encode(
        self,
        encoder: nn.Module,
        frames: Tensor,  # (B, T, 3, H, W) normalised
    ) -> Tensor:  # (B, T, N, D)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_encoder):
            return encoder(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])

    def normalized_actions(
        self,
        actions: Tensor,  # (..., frame_step * action_dim) raw
    ) -> Tensor:
        if actions.shape[-1] != self.frame_step * self.action_dim:
            raise ValueError(
                f"an action block of {actions.shape[-1]} numbers is none of this model, which takes "
                f"{self.frame_step} raw actions of {self.action_dim} numbers ({self.frame_step * self.action_dim}); "
                f"give data and model the same frame_step and action_dim"
            )
        raw = actions.unflatten(-1, (self.frame_step, self.action_dim))
        return ((raw - self.action_mean) / self.action_std).flatten(-2)

    # What planning and evaluation ask for.

    @property
    def action_limit(self) -> ActionLimit | None:
        """Of raw actions in the world that the data is from, where the data says it."""
        size = float(self.limit_size)
        return ActionLimit(size, self.limit_kind) if size > 0 else None

    @torch.no_grad()
    def encode_frames(
        self,
        frames: np.ndarray | Tensor,  # (B, H, W, 3) uint8 array, or (B, 3, H, W) uint8 tensor
    ) -> Tensor:  # (B, N, D)
        """Latents of single frames. Raises ValueError where they are of another size than the model's."""
        if isinstance(frames, np.ndarray):
            frames = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
        if tuple(frames.shape[2:]) != tuple(self.frame_size):
            raise ValueError(
                f"frames of {frames.shape[2]}x{frames.shape[3]} pixels are none of this model's, which sees "
                f"{self.frame_size[0]}x{self.frame_size[1]}; resize them, the goal as well"
            )
        return self.encoder(normalize_frames(frames.to(self.device)))

    def imagine(
        self,
        latents: Tensor,  # (B, N, D) of now, or (B, C, N, D) of the last C frames
        actions: Tensor,  # (B, H, frame_step * action_dim) raw; with C frames C - 1 + H blocks
        states: Tensor | None = None,  # (B, C, S), where the dynamics need them
        extrinsics: Tensor | None = None,  # (B, X)
    ) -> Tensor:  # (B, H, N, D)
        """Latents after each block of actions."""
        latents = latents.unsqueeze(1) if latents.ndim == 3 else latents
        return rollout(self.dynamics, latents, self.normalized_actions(actions), states, extrinsics)

    def distance_to(
        self,
        goal: Tensor,  # (N, D)
    ) -> DistanceToGoal:
        """What a plan is charged by: blocks to the goal, or the squared difference of latents."""
        if self.temporal_distance is None:
            return squared_difference(goal)
        learned, there = self.temporal_distance, self.temporal_distance.embed(goal)
        return lambda latents: between(learned.embed(latents), there)

    # Lightning.

    def setup(self, stage: str) -> None:
        data = getattr(self.trainer, "datamodule", None)
        if data is None or not hasattr(data, "action_statistics"):
            return
        _require_data_that_fits(self, data)
        if stage == "fit" and self.dynamics_phase is not None:
            self._require_room_for_phase()
        if stage == "fit":
            if self.normalize_actions:
                mean, std = data.action_statistics()
                self.action_mean.copy_(torch.as_tensor(mean))
                self.action_std.copy_(torch.as_tensor(std))
            if isinstance(self.encoder, PretrainedFrameEncoder) and self.encoder.standardize:
                self.encoder.fit_standard(_some_frames(data))
            if data.action_limit is not None:
                self.limit_size.fill_(data.action_limit.size)
                self.limit_kind = data.action_limit.kind

    def _require_room_for_phase(self) -> None:
        assert self.dynamics_phase is not None
        if self.trainer.world_size > 1:
            raise ValueError(
                f"a dynamics phase runs on one device, not on {self.trainer.world_size}; give "
                f"--model.dynamics_phase=null, and afterwards a run of one device with freeze_encoder: true"
            )
        if self.dynamics.needs_states:
            raise ValueError("a dynamics phase knows no states; leave it out for dynamics that need them")

    def train(self, mode: bool = True) -> "WorldModel":
        super().train(mode)
        if self.freeze_encoder:
            self.encoder.eval()
        if self.target_encoder is not None:
            self.target_encoder.eval()
        return self

    def scheduled_step(self) -> tuple[int, int, Schedule]:
        step, run_steps = self.global_step + 1, self._steps_before_phase()
        if self.dynamics_phase is None or step <= run_steps:
            return step, run_steps, self.learning_rate
        return step - run_steps, self.dynamics_phase.steps, self.dynamics_phase.learning_rate

    def update_target(self, step: int, run_steps: int) -> dict[str, float]:
        """Move the target encoder, or in the dynamics phase the target of the temporal distance."""
        if self.is_in_dynamics_phase:
            if self.temporal_distance is not None:
                self.temporal_distance.update_target()
            return {}
        if self.target_encoder is None:
            return {}
        momentum = self.momentum.value(step, run_steps)
        update_ema(self.target_encoder, self.encoder, momentum)
        return {"schedule/momentum": momentum}

    def trained_parts(self) -> list[nn.Module]:
        parts = (
            self.encoder,
            self.dynamics,
            self.inverse_dynamics,
            self.decoder,
            self.episode_contrast,
            self.temporal_distance,
            self.regularizer,
            self.episode_regularizer,
        )
        return [part for part in parts if isinstance(part, nn.Module)]

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["limit_kind"] = self.limit_kind
        if isinstance(self.encoder, PretrainedFrameEncoder):
            checkpoint["encoder_settings"] = self.encoder.settings

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.limit_kind = checkpoint["limit_kind"]


def _some_frames(data: EpisodeDataModule, episodes: int = 256) -> Tensor:  # (up to 2 * episodes, 3, H, W) normalised
    """First and middle frames of training episodes, spread evenly over them."""
    train, _ = data.split
    step = data.store.frame_interval
    chosen = train[np.unique(np.linspace(0, len(train) - 1, episodes).astype(int))]
    times = [np.array([0, length // (2 * step) * step]) for length in data.store.lengths[chosen].tolist()]
    frames = [data.store.frames(episode, at) for episode, at in zip(chosen.tolist(), times, strict=True)]
    return normalize_frames(torch.from_numpy(np.concatenate(frames)).permute(0, 3, 1, 2))


def less_episode_means(
    latents: Tensor,  # (B, T, N, D)
    episodes: Tensor,  # (B,) which windows are of one episode
) -> Tensor:  # (B, T, N, D)
    """Latents less their mean over all frames of the same episode in the batch."""
    which, number = torch.unique(episodes, return_inverse=True)
    sums = latents.new_zeros(len(which), *latents.shape[2:]).index_add(0, number, latents.mean(1))
    counts = torch.bincount(number, minlength=len(which)).view(-1, *(1,) * (latents.ndim - 2))
    return latents - (sums / counts)[number].unsqueeze(1)


def _weighted_sum(terms: dict[str, tuple[float, Tensor]]) -> Tensor:
    return torch.stack([weight * value for weight, value in terms.values() if weight]).sum()


def _require_parts_that_fit(
    encoder: FrameEncoder,
    dynamics: Dynamics,
    inverse_dynamics: InverseDynamics | None,
    temporal_distance: TemporalDistance | None,
    action_dim: int,
    frame_step: int,
) -> None:
    if action_dim < 1 or frame_step < 1:
        raise ValueError(f"action_dim ({action_dim}) and frame_step ({frame_step}) must be at least 1")
    block = action_dim * frame_step
    parts = {"dynamics": dynamics, "inverse_dynamics": inverse_dynamics, "temporal_distance": temporal_distance}
    for name, part in parts.items():
        if part is None:
            continue
        if part.embed_dim != encoder.embed_dim:
            raise ValueError(
                f"the embed_dim of the {name} ({part.embed_dim}) must be the encoder's ({encoder.embed_dim}); "
                f"give --model.{name}.embed_dim={encoder.embed_dim}"
            )
        if not isinstance(part, TemporalDistance) and part.action_dim != block:
            raise ValueError(
                f"the action_dim of the {name} ({part.action_dim}) must be that of a block: {frame_step} raw actions "
                f"of {action_dim} numbers; give --model.{name}.action_dim={block}"
            )


def _require_data_that_fits(model: WorldModel, data: object) -> None:
    for name, ours, theirs in (
        ("action_dim", model.action_dim, data.action_dim),  # type: ignore[attr-defined]
        ("frame_step", model.frame_step, data.frame_step),  # type: ignore[attr-defined]
        ("frame size", tuple(model.frame_size), tuple(data.frame_size)),  # type: ignore[attr-defined]
    ):
        if ours != theirs:
            raise ValueError(f"the model's {name} is {ours}, the data's is {theirs}; make them equal")
