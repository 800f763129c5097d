"""Why not pixels: two models of one size see a ball run to a fork, one predicts pixels and one embeddings.

Both see the past and predict the future, which goes left or right by chance. The best guess
of pixels is the mean of both futures, a picture that never comes true. An embedding may leave out what can't be known.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from vjepa.data.clips.batch import ClipBatch, normalize_clips
from vjepa.data.synthetic.fork import PAST_FRAMES, TURNS, Fork, Turn, as_clip, fork_clips, render_fork
from vjepa.evaluation.comparison.latent_decoder import displayable, frozen_tokens, train_latent_decoder
from vjepa.grid import TokenGrid, clips_of_tubelets, gather_tokens, tubelet_pixels
from vjepa.masking import TubeMask
from vjepa.models import Predictor, VideoEncoder
from vjepa.objectives import Agreement, LatentPrediction, Projector, VarianceCovariance
from vjepa.training import JEPA, PixelBaseline, Schedule

TUBELET = (2, 16, 16)
BATCH_SIZE = 32
FIRST_HELD_OUT = 10**9  # number of the first clip that nothing was trained with
NUM_HELD_OUT = 256
NUM_OPEN = 64  # forks among them that are looked at from both sides
NUM_NEAREST = 4


class NearClip(NamedTuple):
    """A held-out clip whose future is embedded close to what was predicted."""

    clip: Tensor  # (3, T, H, W) uint8
    turn: Turn
    distance: float


class ForkExample(NamedTuple):
    """One fork from both sides, and what was predicted of it."""

    futures: dict[Turn, Tensor]  # (3, T, H, W) uint8
    of_pixels: Tensor  # (3, T, H, W) uint8: the true past, then what the pixel model predicts
    of_latents: Tensor  # (3, T, H, W) uint8: the same of the latent model, through a decoder of its frozen targets
    pixel_errors: dict[str, float]  # mean squared error on hidden tubelets to "left", "right", "mean of both"
    latent_errors: dict[str, float]  # mean absolute error of hidden tokens to "left", "right", "another clip"
    nearest: list[NearClip]


class ForkOutcome(NamedTuple):
    """The first held-out fork as an example, and means over all of `NUM_OPEN`."""

    example: ForkExample
    pixel_errors: dict[str, float]
    latent_errors: dict[str, float]
    nearest_with_same_ball: float  # share of the nearest clips
    nearest_with_same_ground: float
    nearest_that_turn_left: float
    same_ball: float  # share of all held-out clips, which is what chance would give
    same_ground: float


def compare_on_forks(num_steps: int = 300, decoder_steps: int = 150, seed: int = 0) -> ForkOutcome:
    """Train both models for as many steps, and ask them for futures of clips that neither has seen."""
    pixels, latents = trained_models(num_steps, seed)
    decoder_clips = (batch.clips for batch in fork_batches(seed, start=num_steps))
    decoder = train_latent_decoder(latents.target_encoder, decoder_clips, decoder_steps, seed=seed)
    clips, forks, turns = held_out(seed)
    grid = latents.context_encoder.grid_of(clips)
    mask = mask_of_future(grid, NUM_OPEN)
    futures = {turn: _clips_that_turn(forks[:NUM_OPEN], turn) for turn in TURNS}
    past = futures["left"]  # of what is hidden nothing is seen

    with torch.no_grad():
        guessed_pixels = pixels.predicted_pixels(normalize_clips(past), mask)  # (F, Nt, P)
        context = latents.context_encoder(normalize_clips(past), mask.context_ids)
        guessed_tokens = latents.predictor(context, mask, grid)  # (F, Nt, D)
    true_pixels: dict[str, Tensor] = {
        turn: gather_tokens(tubelet_pixels(normalize_clips(of_turn), TUBELET), mask.target_ids)
        for turn, of_turn in futures.items()
    }
    true_tokens = {
        turn: gather_tokens(frozen_tokens(latents.target_encoder, of_turn), mask.target_ids)
        for turn, of_turn in futures.items()
    }
    both = {"mean of both": (true_pixels["left"] + true_pixels["right"]) / 2}
    errors_of_pixels: dict[str, Tensor] = {  # (F,) each
        name: (guessed_pixels - truth).square().mean((1, 2)) for name, truth in (true_pixels | both).items()
    }
    errors_of_tokens: dict[str, Tensor] = {
        turn: (guessed_tokens - truth).abs().mean((1, 2)) for turn, truth in true_tokens.items()
    }
    distances, order = _distances(guessed_tokens, latents, clips)  # (F, R) each
    errors_of_tokens["another clip"] = distances.mean(1)
    return ForkOutcome(
        example=ForkExample(
            futures={turn: of_turn[0] for turn, of_turn in futures.items()},
            of_pixels=_with_past(past[0], clips_of_tubelets(_whole(guessed_pixels[:1], grid), grid, TUBELET)[0]),
            of_latents=_through_decoder(decoder, latents, past, guessed_tokens, grid),
            pixel_errors={name: float(error[0]) for name, error in errors_of_pixels.items()},
            latent_errors={name: float(error[0]) for name, error in errors_of_tokens.items()},
            nearest=[
                NearClip(clips[place], turns[place], float(distances[0, place]))
                for place in order[0, :NUM_NEAREST].tolist()
            ],
        ),
        pixel_errors={name: float(error.mean()) for name, error in errors_of_pixels.items()},
        latent_errors={name: float(error.mean()) for name, error in errors_of_tokens.items()},
        **_what_is_near(order, forks, turns),
    )


def trained_models(num_steps: int, seed: int) -> tuple[PixelBaseline, JEPA]:
    """The twins, with one encoder's weights to start from, on the same batches. JEPA is as in the default recipe."""
    frames, height, width = TUBELET
    learning_rate, weight_decay = Schedule(start=1e-4, peak=2e-3, end=1e-5, warmup_steps=30), Schedule(peak=0.04)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pixels = PixelBaseline(
            VideoEncoder(embed_dim=96, depth=3, num_heads=4, tubelet=TUBELET),
            Predictor(96, embed_dim=64, depth=2, num_heads=2, target_dim=3 * frames * height * width),
            learning_rate,
            weight_decay,
            normalize_tubelets=False,  # its prediction must be seen without knowing the truth
        )
        torch.manual_seed(seed)
        latents = JEPA(
            VideoEncoder(embed_dim=96, depth=3, num_heads=4, tubelet=TUBELET),
            Predictor(96, embed_dim=64, depth=2, num_heads=2),
            terms={
                "prediction": LatentPrediction(),
                "agreement": Agreement(VarianceCovariance(projector=Projector(96), covariance_weight=0.1)),
            },
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            momentum=Schedule(peak=0.99, end=1.0),
        )
        for model in (pixels, latents):
            _train(model, num_steps, seed)
    return pixels, latents


def fork_batches(seed: int, start: int = 0) -> Iterator[ClipBatch]:
    """Batches without end: the past is visible, the future hidden."""
    step = start
    while True:
        numbers = range(step * BATCH_SIZE, (step + 1) * BATCH_SIZE)
        pixels, _, turns = fork_clips(seed, numbers)
        clips, rows = torch.from_numpy(pixels), torch.arange(BATCH_SIZE)
        grid = TokenGrid.of_clip((clips.shape[2], clips.shape[3], clips.shape[4]), TUBELET)
        yield ClipBatch(
            clips=clips,
            masks=[mask_of_future(grid, len(clips))],
            labels=torch.tensor([TURNS.index(turn) for turn in turns]),
            sources=torch.zeros_like(rows),
            rows=rows,
            positions=rows,
            seconds=torch.ones(len(rows)),
            failures=[],
        )
        step += 1


def mask_of_future(grid: TokenGrid, num_clips: int) -> TubeMask:
    """What is at or before the fork is visible, what comes after it is hidden."""
    ids = torch.arange(grid.num_tokens).expand(num_clips, -1)
    num_visible = PAST_FRAMES // TUBELET[0] * grid.height * grid.width
    return TubeMask(ids[:, :num_visible], ids[:, num_visible:])


def held_out(seed: int) -> tuple[Tensor, list[Fork], list[Turn]]:  # clips (R, 3, T, H, W) uint8
    clips, forks, turns = fork_clips(seed, range(FIRST_HELD_OUT, FIRST_HELD_OUT + NUM_HELD_OUT))
    return torch.from_numpy(clips), forks, turns


def _train(model: LightningModule, num_steps: int, seed: int) -> None:
    trainer = Trainer(
        accelerator="cpu",
        limit_val_batches=0,
        max_steps=num_steps,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, fork_batches(seed))
    model.eval()


def _clips_that_turn(forks: list[Fork], turn: Turn) -> Tensor:  # (F, 3, T, H, W) uint8
    return torch.stack([torch.from_numpy(as_clip(render_fork(fork, turn))) for fork in forks])


def _distances(
    guessed: Tensor,  # (F, Nt, D) predicted tokens of the first F held-out clips
    latents: JEPA,
    clips: Tensor,  # (R, 3, T, H, W) uint8, all held-out clips
) -> tuple[Tensor, Tensor]:  # (F, R) mean absolute difference to each clip's future, (F, R) clips from near to far
    grid = latents.context_encoder.grid_of(clips)
    tokens = torch.cat([frozen_tokens(latents.target_encoder, part) for part in clips.split(BATCH_SIZE)])
    true = gather_tokens(tokens, mask_of_future(grid, len(clips)).target_ids)
    distances = torch.cdist(guessed.flatten(1), true.flatten(1), p=1) / guessed[0].numel()
    own = torch.eye(*distances.shape, dtype=torch.bool)  # a clip's own future is no other clip
    order = distances.masked_fill(own, torch.inf).argsort(1)
    return distances.masked_fill(own, torch.nan).nanmean(1, keepdim=True).where(own, distances), order


def _what_is_near(
    order: Tensor,  # (F, R) held-out clips from near to far
    forks: list[Fork],
    turns: list[Turn],
) -> dict[str, float]:
    pairs = [(one, int(other)) for one, near in enumerate(order[:, :NUM_NEAREST]) for other in near]
    everyone = [(one, other) for one in range(len(order)) for other in range(len(forks)) if other != one]

    def share(of: list[tuple[int, int]], name: str) -> float:
        return sum(getattr(forks[one], name) == getattr(forks[other], name) for one, other in of) / len(of)

    return {
        "nearest_with_same_ball": share(pairs, "ball"),
        "nearest_with_same_ground": share(pairs, "ground"),
        "nearest_that_turn_left": sum(turns[other] == "left" for _, other in pairs) / len(pairs),
        "same_ball": share(everyone, "ball"),
        "same_ground": share(everyone, "ground"),
    }


def _whole(
    of_future: Tensor,  # (B, Nt, P)
    grid: TokenGrid,
) -> Tensor:  # (B, N, P), zero in the past
    past = of_future.new_zeros(len(of_future), grid.num_tokens - of_future.shape[1], of_future.shape[2])
    return torch.cat((past, of_future), dim=1)


def _with_past(
    clip: Tensor,  # (3, T, H, W) uint8, a true one
    predicted: Tensor,  # (3, T, H, W) normalised; only its future counts
) -> Tensor:  # (3, T, H, W) uint8
    return torch.cat((clip[:, :PAST_FRAMES], displayable(predicted[None])[0, :, PAST_FRAMES:]), dim=1)


def _through_decoder(
    decoder: torch.nn.Module,
    latents: JEPA,
    past: Tensor,  # (F, 3, T, H, W) uint8
    guessed: Tensor,  # (F, Nt, D)
    grid: TokenGrid,
) -> Tensor:  # (3, T, H, W) uint8
    """The first clip's predicted tokens as pixels, behind its true past."""
    # Of the past alone: tokens of the whole clip would tell the decoder which way the ball went.
    seen = frozen_tokens(latents.target_encoder, past[:1], mask_of_future(grid, 1).context_ids)
    with torch.no_grad():
        pixels = decoder(torch.cat((seen, guessed[:1]), dim=1), grid)
    return _with_past(past[0], clips_of_tubelets(pixels, grid, TUBELET)[0])
