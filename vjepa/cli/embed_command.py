"""`vjepa embed`: features of videos, folders and manifests from any checkpoint."""

from pathlib import Path

from vjepa.cli.parser import HelpfulParser
from vjepa.evaluation.embedding.embedding import embed_videos
from vjepa.interop.load_encoder import LoadedEncoder, load_encoder
from vjepa.interop.run_folder import newest_run


def run_embed_command(arguments: list[str]) -> None:
    """Parse and run `vjepa embed`."""
    parser = HelpfulParser(prog="vjepa embed", description="Write features of whole videos, a file for each.")
    parser.add_argument("sources", nargs="+", help="videos, folders of videos, and manifests")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the feature files")
    encoder_keys = parser.add_function_arguments(chosen_encoder)
    parser.add_function_arguments(embed_videos, skip={"sources", "encoder", "output"})
    given = parser.parse_args(arguments).as_dict()
    encoder = chosen_encoder(**{name: given.pop(name) for name in encoder_keys})
    embed_videos(given.pop("sources"), encoder, given.pop("output"), **given)


def chosen_encoder(
    checkpoint: Path | None = None,
    which: str | None = None,
    num_heads: int | None = None,
    image_size: int | None = None,
    runs: Path = Path("runs"),
) -> LoadedEncoder:
    """The encoder of the features.

    Args:
        checkpoint: of any format that `vjepa convert` reads, a run's folder, or the name of weights that come with the
            package (synthetic); the newest below `runs` if None.
        which: encoder of a checkpoint that has several.
        num_heads: of the encoder, where the checkpoint does not contain it.
        image_size: height and width of training clips, where the checkpoint does not contain them.
        runs: folder of all runs.
    """

    def opened(path: Path) -> LoadedEncoder:
        return load_encoder(path, which, num_heads, image_size)

    encoder = opened(checkpoint) if checkpoint else newest_run(runs, opened, "to embed with", "pretrain")
    print(f"embedding with {encoder.source} ({encoder.family})")
    return encoder
