"""`vjepa show`: look before you train. What a recipe makes of its data, as a sheet or a film."""

import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from jsonargparse import Namespace
from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser
from PIL import Image

from vjepa.cli.training import TrainingCLI
from vjepa.data.atomic_file import new_file
from vjepa.data.clips.batch import ClipBatch
from vjepa.data.clips.data_module import ClipDataModule
from vjepa.data.clips.image_views import ImageViews
from vjepa.data.episodes.data_module import EpisodeDataModule
from vjepa.data.synthetic.on_demand import render_embedded_data
from vjepa.data.video.encoding import encode_video
from vjepa.monitoring.previews import (
    Preview,
    film,
    previews_of_clips,
    previews_of_image_views,
    previews_of_windows,
    sheet,
)

FRAMES_PER_SECOND = 6  # of a film
SUFFIXES = (".png", ".mp4")
MOST_BATCHES = 64  # in which clips of each length are looked for


def run_show_command(arguments: list[str]) -> None:
    """Parse and run `vjepa show`: the recipes and flags of `vjepa fit`, of which those of the data count."""
    ShowCLI(["fit", *arguments])


class ShowCLI(TrainingCLI):
    """Reads a recipe as `fit` does, and makes its data module alone: no model, no run."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.add_argument(
            "manifest", nargs="?", type=str | None, help="videos or episodes, instead of those of the recipe"
        )
        parser.add_argument("-o", "--output", type=Path, default=Path("show.png"), help="a .png sheet or an .mp4 film")
        parser.add_argument("--samples", type=int, default=4, help="clips of each length, or windows of episodes")

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        self._parser("fit").prog = "vjepa show"  # in its usage
        super().parse_arguments(parser, args)

    def instantiate_classes(self) -> None:
        given = self.config[self.subcommand]
        if given.output.suffix not in SUFFIXES:
            raise ValueError(f"output ({given.output}) must end with {' or '.join(SUFFIXES)}, for a sheet or a film")
        if given.samples < 1:
            raise ValueError(f"samples ({given.samples}) must be at least 1")
        arguments = given.data.init_args
        arguments.num_workers = 0
        if given.manifest is not None and "train_manifest" in arguments:
            arguments.train_manifest, arguments.mixture = given.manifest, None
        elif given.manifest is not None:
            arguments.root = given.manifest
        render_embedded_data(given.as_dict())
        views = given.model.init_args.get("views")
        data = self.parser.instantiate(Namespace({self.subcommand: Namespace(data=given.data)}))[self.subcommand].data
        previews = previews_of(data, given.samples, ImageViews(**views.as_dict()) if views is not None else None)
        write_previews(previews, given.output)
        number = f"{len(previews)} training sample{'s' if len(previews) > 1 else ''}"
        print(f"{given.output}: {number} as the model gets them")

    def _run_subcommand(self, subcommand: str) -> None:
        """All is done."""


def previews_of(data: LightningDataModule, samples: int, image_views: ImageViews | None = None) -> list[Preview]:
    """The first training samples of a run; of clips so many of each length. Nothing else is decoded."""
    with tempfile.TemporaryDirectory() as folder:
        quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
        data.trainer = Trainer(accelerator="cpu", logger=False, default_root_dir=folder, **quiet)  # type: ignore[arg-type]
        data.setup("fit")
        loader = data.train_dataloader()
        if isinstance(data, EpisodeDataModule):
            assert loader.batch_sampler is not None
            keys = next(iter(loader.batch_sampler))[:samples]
            return previews_of_windows(loader.dataset.__getitems__(keys), samples)
        assert isinstance(data, ClipDataModule)
        previews = []
        for batch in _batches(data, samples):
            names = [
                data.train[source].manifest.paths[row] for source, row in zip(batch.sources, batch.rows, strict=True)
            ]
            if image_views is not None:
                previews += previews_of_image_views(batch, names, image_views)
            else:
                previews += previews_of_clips(batch, names, data.tubelet, data.image_tokenizer)
            for failure in batch.failures:
                print(f"replaced unreadable file {failure.path}: {failure.reason}")
        return previews


def _batches(data: ClipDataModule, samples: int) -> Iterator[ClipBatch]:
    """The first clips of each length in the order of the run."""
    loader = data.train_dataloader()
    lengths = {source.frames.num_frames for source in data.train}
    assert loader.batch_sampler is not None
    for keys in islice(loader.batch_sampler, MOST_BATCHES):
        source, _ = data.order.draw(keys[0].position)
        length = data.train[source].frames.num_frames
        if length in lengths:
            lengths.remove(length)
            files = -(-samples // data.clips_per_video)
            yield loader.collate_fn([loader.dataset[key] for key in keys[:files]])


def write_previews(previews: list[Preview], output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    with new_file(output) as temporary:
        if output.suffix == ".png":
            Image.fromarray(sheet(previews)).save(temporary, format="png")
        else:
            encode_video(temporary, film(previews), FRAMES_PER_SECOND)
