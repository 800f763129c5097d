"""Why not pixels: two models of one size see a ball run to a fork, one predicts pixels and one embeddings.

Both see the past and predict the future, which goes left or right by chance. The best prediction of pixels is the mean
of both futures, a picture that never comes true. An embedding may leave out what can't be known, and a predictor of two
hypotheses can say both.
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
from vjepa.objectives import (
    Agreement,
    ClipTerm,
    HypothesisUsage,
    LatentPrediction,
    Projector,
    VarianceCovariance,
    hypothesis_errors,
)
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
    """One fork with both futures and all predictions."""

    futures: dict[Turn, Tensor]  # (3, T, H, W) uint8
    pixel_prediction: UInt8[Tensor, "3 T H W"]  # behind the true past
    latent_prediction: UInt8[Tensor, "3 T H W"]  # the same, through a decoder of the frozen targets
    hypotheses: list[Tensor]  # (3, T, H, W) uint8 each: those of the model with several, decoded
    pixel_errors: dict[str, float]  # mean squared error on hidden tubelets to "left", "right", "mean of both"
    latent_errors: dict[str, float]  # mean absolute error of hidden tokens to "left", "right", "another clip"
    nearest: list[NearClip]


class Nearest(NamedTuple):
    """Fractions of the clips whose embedded futures are nearest to the predictions."""

    same_ball: float
    same_ground: float
    turn_left: float


class ForkOutcome(NamedTuple):
    """The first held-out fork as an example, and means over all of `NUM_OPEN`."""

    example: ForkExample
    pixel_errors: dict[str, float]
    pixel_errors_by_frame: dict[str, list[float]]  # the same for each hidden tubelet frame
    latent_errors: dict[str, float]
    nearest: Nearest
    nearest_of_hypotheses: list[Nearest]
    least_errors: dict[str, float]  # as latent errors, of the hypothesis that is nearest to each future
    parted: float  # fraction of forks at which one hypothesis is nearer to the left future and one to the right
    chance: Nearest  # among all held-out clips


def compare_on_forks(num_steps: int = 300, decoder_steps: int = 150, seed: int = 0) -> ForkOutcome:
    """Train three models for the same number of steps, and compare their predictions on held-out clips."""
    pixels, latents, several = trained_models(num_steps, seed)
    clips, forks, turns = held_out(seed)
    grid = latents.context_encoder.grid_of(clips)
    mask = mask_of_future(grid, NUM_OPEN)
    futures = {turn: _clips_that_turn(forks[:NUM_OPEN], turn) for turn in TURNS}
    past = futures["left"]  # the future is hidden

    with torch.no_grad():
        predicted_pixels = pixels.predicted_pixels(normalize_clips(past), mask)  # (F, Nt, P)
    true_pixels: dict[str, Tensor] = {
        turn: gather_tokens(tubelet_pixels(normalize_clips(future), TUBELET), mask.target_ids)
        for turn, future in futures.items()
    }
    true_pixels["mean of both"] = (true_pixels["left"] + true_pixels["right"]) / 2
    by_frame = {
        name: (predicted_pixels - each).square().unflatten(1, (-1, grid.height * grid.width)).mean((2, 3))
        for name, each in true_pixels.items()
    }  # (F, hidden tubelet frames)

    predictions = {model: _predicted(model, past, mask) for model in (latents, several)}  # (K, F, Nt, D)
    errors = {model: _errors_to_futures(model, predictions[model], futures, mask) for model in predictions}
    nearest_turn = torch.stack([errors[several][turn] for turn in TURNS]).argmin(0)  # (K, F)
    distances, order = _distances(predictions[latents][0], latents, clips)
    latent_errors: dict[str, Tensor] = {turn: error[0] for turn, error in errors[latents].items()}
    latent_errors["another clip"] = distances.mean(1)
    decoded = {
        model: _decoded(model, past, predictions[model], grid, num_steps, decoder_steps, seed) for model in predictions
    }
    orders = [order, *(_distances(predicted, several, clips)[1] for predicted in predictions[several])]
    nearest, *nearest_of_hypotheses = (_nearest_fractions(each[:, :NUM_NEAREST], forks, turns) for each in orders)
    return ForkOutcome(
        ForkExample(
            {turn: future[0] for turn, future in futures.items()},
            _with_past(past[0], clips_of_tubelets(_whole(predicted_pixels[:1], grid), grid, TUBELET)[0]),
            decoded[latents][0],
            decoded[several],
            {name: float(error[0].mean()) for name, error in by_frame.items()},
            {name: float(error[0]) for name, error in latent_errors.items()},
            [NearClip(clips[k], turns[k], float(distances[0, k])) for k in order[0, :NUM_NEAREST].tolist()],
        ),
        {name: float(error.mean()) for name, error in by_frame.items()},
        {name: error.mean(0).tolist() for name, error in by_frame.items()},
        {name: float(error.mean()) for name, error in latent_errors.items()},
        nearest,
        nearest_of_hypotheses,
        {turn: float(error.min(0).values.mean()) for turn, error in errors[several].items()},
        float((nearest_turn != nearest_turn[0]).any(0).float().mean()),
        _nearest_fractions(order[:, :-1], forks, turns),  # all but the clip itself, which is the last
    )


def _predicted(model: JEPA, past: UInt8[Tensor, "F 3 T H W"], mask: TubeMask) -> Float[Tensor, "K F Nt D"]:
    """Hidden tokens by each hypothesis."""
    assert model.predictor is not None
    clips = normalize_clips(past)
    with torch.no_grad():
        where = (model.context_encoder(clips, mask.context_ids), mask, model.context_encoder.grid_of(clips))
        return torch.stack(
            [model.predictor(*where, hypothesis=which) for which in range(model.predictor.num_hypotheses)]
        )


def _errors_to_futures(
    model: JEPA, predicted: Float[Tensor, "K F Nt D"], futures: dict[Turn, Tensor], mask: TubeMask
) -> dict[Turn, Float[Tensor, "K F"]]:
    return {
        turn: hypothesis_errors(
            predicted, gather_tokens(frozen_tokens(model.target_encoder, future), mask.target_ids)
        ).T
        for turn, future in futures.items()
    }


def _decoded(
    model: JEPA,
    past: UInt8[Tensor, "F 3 T H W"],
    predicted: Float[Tensor, "K F Nt D"],
    grid: TokenGrid,
    num_steps: int,
    decoder_steps: int,
    seed: int,
) -> list[Tensor]:
    """Each hypothesis of the first fork as pixels, by a decoder of this model's frozen targets."""
    clips = (batch.clips for batch in fork_batches(seed, start=num_steps))
    decoder = train_latent_decoder(model.target_encoder, clips, decoder_steps, seed=seed)
    return [_through_decoder(decoder, model, past, each, grid) for each in predicted]


def trained_models(num_steps: int, seed: int) -> tuple[PixelBaseline, JEPA, JEPA]:
    """Models of pixels, of embeddings and of embeddings by two hypotheses, on the same batches."""
    frames, height, width = TUBELET
    learning_rate, weight_decay = Schedule(start=1e-4, peak=2e-3, end=1e-5, warmup_steps=30), Schedule(peak=0.04)
    with seeded(seed):
        pixels = PixelBaseline(
            _encoder(),
            Predictor(96, embed_dim=64, depth=2, num_heads=2, target_dim=3 * frames * height * width),
            learning_rate,
            weight_decay,
            normalize_tubelets=False,  # a prediction must be shown without the true statistics
        )
        latents = [_jepa(num_hypotheses, learning_rate, weight_decay, seed) for num_hypotheses in (1, 2)]
        for model in (pixels, *latents):
            _train(model, num_steps, seed)
    return pixels, latents[0], latents[1]


def _encoder() -> VideoEncoder:
    return VideoEncoder(embed_dim=96, depth=3, num_heads=4, tubelet=TUBELET)


def _jepa(num_hypotheses: int, learning_rate: Schedule, weight_decay: Schedule, seed: int) -> JEPA:
    torch.manual_seed(seed)  # the same encoder in all
    terms: dict[str, ClipTerm | None] = {
        "prediction": LatentPrediction(),
        "agreement": Agreement(VarianceCovariance(projector=Projector(96), covariance_weight=0.1)),
        "usage": HypothesisUsage() if num_hypotheses > 1 else None,
    }
    return JEPA(
        _encoder(),
        Predictor(96, embed_dim=64, depth=2, num_heads=2, num_hypotheses=num_hypotheses),
        terms,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        momentum=Schedule(peak=0.99, end=1.0),
    )


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


def _nearest_fractions(nearest: Int64[Tensor, "F n"], forks: list[Fork], turns: list[Turn]) -> Nearest:
    pairs = [(one, int(other)) for one, near in enumerate(nearest) for other in near]
    return Nearest(
        sum(forks[one].ball == forks[other].ball for one, other in pairs) / len(pairs),
        sum(forks[one].ground == forks[other].ground for one, other in pairs) / len(pairs),
        sum(turns[other] == "left" for _, other in pairs) / len(pairs),
    )


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
