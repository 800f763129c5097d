"""`vjepa segment`: objects in frozen features, without labels, by heads, and by propagation, beside baselines."""

import time
from functools import partial
from pathlib import Path
from typing import Literal

from vjepa.cli.checkpoint_arguments import CheckpointArguments
from vjepa.cli.parser import run_by_recipe
from vjepa.data.segmentation.segmented_videos import SegmentedVideos
from vjepa.evaluation.accelerator import torch_device
from vjepa.evaluation.dense.dense_evaluation import DenseEvaluation, DenseSettings
from vjepa.evaluation.dense.frame_maps import (
    MapSource,
    Windows,
    colour_and_position,
    encoder_maps,
    identical_features,
    image_model_maps,
)
from vjepa.evaluation.dense.pictures import write_pictures
from vjepa.evaluation.dense.report import RANDOM, differences, print_tables, write_files
from vjepa.evaluation.probes.image_features import ImageBackboneFeatures, weights_at_hand
from vjepa.interop.opening import open_run
from vjepa.interop.run_folder import PretrainedRun, preprocessing_of
from vjepa.models import VideoEncoder

BaselineName = Literal["random", "colour", "identical", "image", "random_image"]


def segment(
    source: CheckpointArguments,
    settings: DenseSettings,
    data: SegmentedVideos,
    num_frames: int | None = None,
    frame_step: int | None = None,
    stride: int | None = None,
    single_frames: bool = False,
    levels: list[int] | None = None,
    others: list[Path] = [],  # noqa: B006 (read only)
    baselines: list[BaselineName] = ["random", "colour", "identical", "image"],  # noqa: B006 (read only)
    image_model: str = "vit_small_patch14_dinov2",
    image_weights: Path | None = None,
    image_model_size: int | None = None,
    pictures: int = 6,
) -> None:
    """Evaluate frozen features densely, print tables, write results and pictures to the folder `segment`.

    Args:
        source: the checkpoint.
        settings: tasks and their protocols.
        data: videos or images with masks.
        num_frames: frames of the clips that a video is encoded in; those of the checkpoint's training if None.
        frame_step: frames of the video from one frame of a clip to the next; that of training if None. Every frame gets
            features, whatever the step.
        stride: frames (of the thinned-out video) from one clip to the next; the odd number up to half a clip if
            None, so that each frame has features of its own.
        single_frames: encode each frame by itself, repeated over a tubelet: for images.
        levels: blocks whose tokens are concatenated, from 0; the last one if None.
        others: more checkpoints or recipes, a row for each.
        baselines: rows beside the checkpoint: the same network untrained (by the run's seed), mean colour and place of
            each token, identical features, and a frozen image model per frame where its weights are at hand, or
            random_image: with random weights. A copy of the first mask always stands beside propagation.
        image_model: timm's name of the image model.
        image_weights: its weights, as safetensors or a checkpoint of tensors; those in the local cache of the Hugging
            Face hub if None, and nothing is downloaded.
        image_model_size: side of the square that its frames are resized to, such as 224; their own size if None.
        pictures: test videos in `sheet.png` and as mp4.
    """
    started = time.monotonic()
    run = source.read()
    print(f"segmenting with the {source.encoder} encoder of {run.named}")
    device = torch_device(source.accelerator)
    windows = _windows(run, num_frames, frame_step, stride, single_frames)
    encoder = run.encoder(source.encoder)
    token = (encoder.tubelet[1], encoder.tubelet[2])

    def row(name: str, encoder: VideoEncoder) -> MapSource:
        encoder.to(device).eval().requires_grad_(False)
        return MapSource(name, partial(encoder_maps, encoder, windows, device, levels))

    rows = [row("pretrained", encoder)]
    rows += [row(other.title, other.encoder(source.encoder)) for other in map(open_run, others)]
    if "random" in baselines:
        rows.append(row(RANDOM, run.untrained_encoder()))
    if "colour" in baselines:
        rows.append(MapSource("colour and position", partial(colour_and_position, token)))
    if "identical" in baselines:
        rows.append(MapSource("identical features", partial(identical_features, token)))
    weights = image_weights or weights_at_hand(image_model)
    if "image" in baselines and weights is None:
        print(f"no row of an image model: no weights of {image_model} are at hand; give --image_weights=FILE")
    for wanted, each in (("image", weights), ("random_image", None)):
        if wanted in baselines and (wanted == "random_image" or each is not None):
            features = ImageBackboneFeatures(image_model, each, image_model_size)
            rows.append(MapSource(features.name, partial(image_model_maps, features, device)))
    evaluation = DenseEvaluation(data, rows, settings, pictures, device)
    results = evaluation.run()
    folder = source.folder(run, "segment")
    facts = {"num_frames": windows.num_frames, "frame_step": windows.frame_step, "single_frames": single_frames}
    write_files(results, folder, source.facts(run) | facts | {"size": list(data.size), "videos": len(data.test)})
    print_tables(results, run.title, len(data.test))
    for line in differences(results, rows[0].name):
        print(line)
    print("intervals are 95 % over test videos (bootstrap)")
    if evaluation.pictured:
        print(f"pictures: {', '.join(map(str, write_pictures(evaluation.pictured, folder)))}")
    print(f"results are in {folder}, after {time.monotonic() - started:.0f} s")


def _windows(
    run: PretrainedRun, num_frames: int | None, frame_step: int | None, stride: int | None, single_frames: bool
) -> Windows:
    trained = preprocessing_of(run.settings.data) if run.settings.data else None
    frames: int | None = num_frames
    step: float | None = frame_step or (1 if single_frames else None)
    if trained is not None:
        frames, step = frames or trained.num_frames, step or trained.frame_step
    if frames is None or step is None or step != int(step):
        raise ValueError(
            f"{run.checkpoint} does not tell how many frames its clips had, or how many frames apart; give "
            f"--num_frames and --frame_step"
        )
    return Windows(frames, int(step), stride, single_frames)


def run_segment_command(arguments: list[str]) -> None:
    """Parse and run `vjepa segment`."""
    description = "Objects in frozen features: without labels, by heads, by propagation, beside baselines."
    run_by_recipe(
        segment,
        arguments,
        "vjepa segment",
        description,
        {"source": CheckpointArguments, "settings": DenseSettings},
    )
