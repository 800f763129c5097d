"""Why not pixels: two models of one size see a ball run to a fork, one predicts pixels and one embeddings.

Both see the past and predict the future, which goes left or right by chance. The best prediction of pixels is the mean
of both futures, a picture that never comes true. An embedding may leave out what can't be known.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from vjepa.data.clips.batch import ClipBatch, normalize_clips
from vjepa.data.synthetic.fork import PAST_FRAMES, TURNS, Fork, Turn, as_clip, fork_clips, render_fork
from vjepa.evaluation.comparison.latent_decoder import LatentDecoder, displayable, frozen_tokens, train_latent_decoder
from vjepa.grid import TokenGrid, clips_of_tubelets, gather_tokens, tubelet_pixels
from vjepa.interop.networks import seeded
from vjepa.masking import TubeMask
from vjepa.models import Predictor, VideoEncoder
from vjepa.objectives import Agreement, LatentPrediction, Projector, VarianceCovariance
from vjepa.training import JEPA, PixelBaseline, Schedule

TUBELET = (2, 16, 16)
BATCH_SIZE = 32
FIRST_HELD_OUT = 10**9  # index of the first clip that is not trained on
NUM_HELD_OUT = 256
NUM_OPEN = 64  # forks among them whose two futures are compared
NUM_NEAREST = 4


class NearClip(NamedTuple):
    """A held-out clip whose embedded future is close to the prediction."""

    clip: UInt8[Tensor, "3 T H W"]
    turn: Turn
    distance: float


class ForkExample(NamedTuple):
    """One fork with both futures and both predictions."""

    futures: dict[Turn, Tensor]  # (3, T, H, W) uint8
    pixel_prediction: UInt8[Tensor, "3 T H W"]  # behind the true past
    latent_prediction: UInt8[Tensor, "3 T H W"]  # the same, through a decoder of the frozen targets
    pixel_errors: dict[str, float]  # mean squared error on hidden tubelets to "left", "right", "mean of both"
    latent_errors: dict[str, float]  # mean absolute error of hidden tokens to "left", "right", "another clip"
    nearest: list[NearClip]


class ForkOutcome(NamedTuple):
    """The first held-out fork as an example, and means over all of `NUM_OPEN`."""

    example: ForkExample
    pixel_errors: dict[str, float]
    latent_errors: dict[str, float]
    nearest_with_same_ball: float  # fraction of the nearest clips
    nearest_with_same_ground: float
    nearest_that_turn_left: float
    same_ball: float  # fraction of all held-out clips, as by chance
    same_ground: float


def compare_on_forks(num_steps: int = 300, decoder_steps: int = 150, seed: int = 0) -> ForkOutcome:
    """Train both models for the same number of steps, and compare their predictions on held-out clips."""
    pixels, latents = trained_models(num_steps, seed)
    decoder_clips = (batch.clips for batch in fork_batches(seed, start=num_steps))
    decoder = train_latent_decoder(latents.target_encoder, decoder_clips, decoder_steps, seed=seed)
    clips, forks, turns = held_out(seed)
    grid = latents.context_encoder.grid_of(clips)
    mask = mask_of_future(grid, NUM_OPEN)
    futures = {turn: _clips_that_turn(forks[:NUM_OPEN], turn) for turn in TURNS}
    past = futures["left"]  # the future is hidden

    assert latents.predictor is not None
    with torch.no_grad():
        predicted_pixels = pixels.predicted_pixels(normalize_clips(past), mask)  # (F, Nt, P)
        context = latents.context_encoder(normalize_clips(past), mask.context_ids)
        predicted_tokens = latents.predictor(context, mask, grid)  # (F, Nt, D)
    true_pixels: dict[str, Tensor] = {
        turn: gather_tokens(tubelet_pixels(normalize_clips(future), TUBELET), mask.target_ids)
        for turn, future in futures.items()
    }
    true_pixels["mean of both"] = (true_pixels["left"] + true_pixels["right"]) / 2
    true_tokens = {
        turn: gather_tokens(frozen_tokens(latents.target_encoder, future), mask.target_ids)
        for turn, future in futures.items()
    }
    distances, order = _distances(predicted_tokens, latents, clips)
    pixel_errors = {name: (predicted_pixels - each).square().mean((1, 2)) for name, each in true_pixels.items()}
    latent_errors: dict[str, Tensor] = {
        turn: (predicted_tokens - each).abs().mean((1, 2)) for turn, each in true_tokens.items()
    }
    latent_errors["another clip"] = distances.mean(1)
    return ForkOutcome(
        ForkExample(
            {turn: future[0] for turn, future in futures.items()},
            _with_past(past[0], clips_of_tubelets(_whole(predicted_pixels[:1], grid), grid, TUBELET)[0]),
            _through_decoder(decoder, latents, past, predicted_tokens, grid),
            {name: float(error[0]) for name, error in pixel_errors.items()},
            {name: float(error[0]) for name, error in latent_errors.items()},
            [NearClip(clips[k], turns[k], float(distances[0, k])) for k in order[0, :NUM_NEAREST].tolist()],
        ),
        {name: float(error.mean()) for name, error in pixel_errors.items()},
        {name: float(error.mean()) for name, error in latent_errors.items()},
        **_nearest_fractions(order, forks, turns),
    )


def trained_models(num_steps: int, seed: int) -> tuple[PixelBaseline, JEPA]:
    """Both models, from the same encoder weights, on the same batches. JEPA is as in the default recipe."""
    frames, height, width = TUBELET
    learning_rate, weight_decay = Schedule(start=1e-4, peak=2e-3, end=1e-5, warmup_steps=30), Schedule(peak=0.04)
    with seeded(seed):
        pixels = PixelBaseline(
            VideoEncoder(embed_dim=96, depth=3, num_heads=4, tubelet=TUBELET),
            Predictor(96, embed_dim=64, depth=2, num_heads=2, target_dim=3 * frames * height * width),
            learning_rate,
            weight_decay,
            normalize_tubelets=False,  # a prediction must be shown without the true statistics
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
    """Endless batches: the past is visible, the future hidden."""
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
    """Tokens up to the fork are visible, later ones are hidden."""
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


def _clips_that_turn(forks: list[Fork], turn: Turn) -> UInt8[Tensor, "F 3 T H W"]:
    return torch.stack([torch.from_numpy(as_clip(render_fork(fork, turn))) for fork in forks])


def _distances(
    predicted: Float[Tensor, "F Nt D"],  # tokens of the first F held-out clips
    latents: JEPA,
    clips: UInt8[Tensor, "R 3 T H W"],  # all held-out clips
) -> tuple[Float[Tensor, "F R"], Int64[Tensor, "F R"]]:
    """Mean absolute differences to the future of each other clip, and the clips from near to far."""
    grid = latents.context_encoder.grid_of(clips)
    tokens = torch.cat([frozen_tokens(latents.target_encoder, part) for part in clips.split(BATCH_SIZE)])
    true = gather_tokens(tokens, mask_of_future(grid, len(clips)).target_ids)
    distances = torch.cdist(predicted.flatten(1), true.flatten(1), p=1) / predicted[0].numel()
    own = torch.eye(*distances.shape, dtype=torch.bool)  # a clip's own future is not that of another clip
    order = distances.masked_fill(own, torch.inf).argsort(1)
    return distances.masked_fill(own, torch.nan).nanmean(1, keepdim=True).where(own, distances), order


def _nearest_fractions(order: Int64[Tensor, "F R"], forks: list[Fork], turns: list[Turn]) -> dict[str, float]:
    nearest = [(one, int(other)) for one, near in enumerate(order[:, :NUM_NEAREST]) for other in near]
    everyone = [(one, other) for one in range(len(order)) for other in range(len(forks)) if other != one]

    def same(pairs: list[tuple[int, int]], name: str) -> float:
        return sum(getattr(forks[one], name) == getattr(forks[other], name) for one, other in pairs) / len(pairs)

    return {
        "nearest_with_same_ball": same(nearest, "ball"),
        "nearest_with_same_ground": same(nearest, "ground"),
        "nearest_that_turn_left": sum(turns[other] == "left" for _, other in nearest) / len(nearest),
        "same_ball": same(everyone, "ball"),
        "same_ground": same(everyone, "ground"),
    }


def _whole(future: Float[Tensor, "B Nt P"], grid: TokenGrid) -> Float[Tensor, "B N P"]:  # zero in the past
    past = future.new_zeros(len(future), grid.num_tokens - future.shape[1], future.shape[2])
    return torch.cat((past, future), dim=1)


def _with_past(
    clip: UInt8[Tensor, "3 T H W"],  # a true one
    predicted: Float[Tensor, "3 T H W"],  # normalised; only its future counts
) -> UInt8[Tensor, "3 T H W"]:
    return torch.cat((clip[:, :PAST_FRAMES], displayable(predicted[None])[0, :, PAST_FRAMES:]), dim=1)


def _through_decoder(
    decoder: LatentDecoder,
    latents: JEPA,
    past: UInt8[Tensor, "F 3 T H W"],
    predicted: Float[Tensor, "F Nt D"],
    grid: TokenGrid,
) -> UInt8[Tensor, "3 T H W"]:
    """The first clip's predicted tokens as pixels, behind its true past."""
    # From the past alone: tokens of the whole clip would contain the turn of the ball.
    context = frozen_tokens(latents.target_encoder, past[:1], mask_of_future(grid, 1).context_ids)
    with torch.no_grad():
        pixels = decoder(torch.cat((context, predicted[:1]), dim=1), grid)
    return _with_past(past[0], clips_of_tubelets(pixels, grid, TUBELET)[0])
