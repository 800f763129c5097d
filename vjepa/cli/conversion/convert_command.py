"""`vjepa convert`: a model from one format to another; every weight is accounted for."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from vjepa.cli.conversion.world_model_graph import write_world_model_graphs
from vjepa.cli.parser import HelpfulParser
from vjepa.interop.hugging_face import write_hugging_face
from vjepa.interop.model_card import Format, write_model_card
from vjepa.interop.native import write_native
from vjepa.interop.onnx_export import write_encoder_graph
from vjepa.interop.opening import open_model
from vjepa.interop.portable import PortableModel
from vjepa.interop.released import write_released
from vjepa.interop.run_folder import checkpoint_in
from vjepa.training.world_model_run import holds_world_model, read_world_model


def _write_onnx(model: PortableModel, folder: Path) -> None:
    write_encoder_graph(model, folder / "encoder.onnx")


_WRITERS: dict[Format, Callable[[PortableModel, Path], None]] = {
    "native": write_native,
    "meta": write_released,
    "huggingface": write_hugging_face,
    "onnx": _write_onnx,
}


def convert(
    source: str,
    destination: Path,
    to: Format,
    which: str | None = None,
    num_heads: int | None = None,
    predictor_num_heads: int | None = None,
    image_size: int | None = None,
    licence: str | None = None,
    overwrite: bool = False,
) -> None:
    """Read a model, write it in another format with a card, print the report.

    Args:
        source: a released file, a Hugging Face or native folder, a run's folder or checkpoint, or a recipe.
        destination: a folder; for "meta" a file.
        to: "native" (safetensors and YAML), "meta" (the released layout), "huggingface" (for transformers) or "onnx"
            (the encoder; of a world model encoder and dynamics).
        which: of several encoders: ema_encoder, target_encoder or encoder; target or context of a run. The moving
            average if None.
        num_heads: of the encoder, for released files of a width that no released model has.
        predictor_num_heads: the same for its predictor.
        image_size: height and width of clips in pixels, in place of the source's.
        licence: of the weights, for the card; for released weights that of the released code if None.
        overwrite: replace the destination.
    """
    is_file = to == "meta"
    if is_file and destination.is_dir():
        raise ValueError(f"{destination} is a folder; for --to meta give a file, e.g. {destination / 'model.pt'}")
    if not is_file and destination.is_file():
        raise ValueError(f"{destination} is a file; for --to {to} give a folder")
    card = destination.with_suffix(".md") if is_file else destination / "README.md"
    taken = [path for path in (card, destination) if path.exists() and not (path.is_dir() and not any(path.iterdir()))]
    if taken and not overwrite:
        raise ValueError(f"{taken[-1]} is there already; give another destination, or --overwrite")
    if to == "onnx" and holds_world_model(checkpoint_in(Path(source))):
        of_encoders = {"which": which, "licence": licence, "num_heads": num_heads, "image_size": image_size}
        if given := [f"--{name}" for name, value in of_encoders.items() if value is not None]:
            raise ValueError(f"{', '.join(given)} is for encoders, and {source} is a world model; leave it out")
        write_world_model_graphs(read_world_model(Path(source)), destination)
        print(f"wrote {destination} (encoder.onnx, dynamics.onnx), its card {card}")
        return
    model, report = open_model(source, which, num_heads, predictor_num_heads, image_size)
    if licence is not None:
        model = replace(model, origin=replace(model.origin, licence=licence))
    print(report)
    _WRITERS[to](model, destination)
    write_model_card(model, to, destination, card)
    print(f"wrote {destination} ({to}), its card {card}")


def run_convert_command(arguments: list[str]) -> None:
    """Parse and run `vjepa convert`."""
    parser = HelpfulParser(prog="vjepa convert", description="Convert a model between formats.")
    parser.add_argument("source", help="a released file, a Hugging Face or native folder, a run, or a recipe")
    parser.add_argument("destination", type=Path, help="a folder; for --to meta a file")
    parser.add_argument("--overwrite", action="store_true", help="replace the destination")
    parser.add_function_arguments(convert, skip={"source", "destination", "overwrite"})
    convert(**parser.parse_args(arguments).as_dict())
