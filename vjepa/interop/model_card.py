"""The model card of an exported model: sizes, origin and usage."""

import json
from pathlib import Path
from typing import Any, Literal

from vjepa.data.atomic_file import write_text
from vjepa.interop.hugging_face import has_class_token
from vjepa.interop.networks import outline, parts_of, whole_settings
from vjepa.interop.portable import PortableModel, Preprocessing

Format = Literal["native", "meta", "huggingface", "onnx"]

_NOT_STATED = "not stated in the source"
_LOADING = {
    "native": 'import vjepa\n\nencoder = vjepa.load_encoder("{where}")',
    "meta": 'import vjepa\n\nencoder = vjepa.load_encoder("{where}")  # the released loaders read it too',
    "huggingface": 'from transformers import {loader}\n\nmodel = {loader}.from_pretrained("{where}"{more})',
    "onnx": """\
import onnxruntime

session = onnxruntime.InferenceSession("{where}/encoder.onnx")
(tokens,) = session.run(None, {{"clips": clips}})  # (B, 3, T, H, W) uint8, RGB -> (B, N, D)""",
}
_LICENCES = ("apache-2.0", "mit", "cc-by-nc-4.0", "cc-by-4.0")  # by their names on the Hugging Face hub


def model_card(model: PortableModel, format: Format, where: Path) -> str:
    """Markdown."""
    loader, more = "VJEPA2ForVideoClassification" if model.classifiers else "VJEPA2Model", ""
    if has_class_token(model):
        loader, more = "AutoModel", ", trust_remote_code=True"  # LeVJEPA's own code
    rows = "\n".join(
        f"| {name} | {_sizes(whole_settings(network, part.settings))} | "
        f"{sum(weight.numel() for weight in outline(network, part.settings).state_dict().values()) / 1e6:.2f} M |"
        for name, (network, part) in parts_of(model).items()
    )
    family = "a model trained or set up with vjepa" if model.family == "vjepa" else f"a {model.family}"
    origin = model.origin
    return f"""{_front_matter(format, origin.licence)}# {where.name}

Weights of {family}, written by `vjepa convert` ({format}).

| network | sizes | parameters |
|---|---|---|
{rows}

* Source: {origin.source}{f", its `{origin.encoder}`" if origin.encoder else ""}
* Clips: {_clips(model.preprocessing)}
* Data: {origin.data or _NOT_STATED}
* Recipe or command: {origin.command or _NOT_STATED}
* Licence: {origin.licence or _NOT_STATED}

```python
{_LOADING[format].format(where=where, loader=loader, more=more)}
```
"""


def _front_matter(format: Format, licence: str | None) -> str:
    """What the Hugging Face hub reads of a card, for folders that can be uploaded to it as they are."""
    if format not in ("native", "huggingface"):
        return ""
    library = "transformers" if format == "huggingface" else "vjepa"
    name = (licence or "").lower().replace(" ", "-")
    terms = (
        f"license: {name}"
        if name in _LICENCES
        else f"license: other\nlicense_name: {json.dumps(licence or _NOT_STATED)}"
    )
    return f"---\nlibrary_name: {library}\ntags: [video, v-jepa]\n{terms}\n---\n\n"


def write_model_card(model: PortableModel, format: Format, where: Path, file: Path) -> None:
    write_text(file, model_card(model, format, where))


def _sizes(settings: dict[str, Any]) -> str:
    shown = ("embed_dim", "depth", "num_heads", "tubelet", "position", "class_token", "attention", "num_classes")
    return ", ".join(f"{name} {settings[name]}" for name in shown if name in settings)


def _clips(cut: Preprocessing) -> str:
    rate = f"{cut.fps:g} frames per second" if cut.fps is not None else f"one of {cut.frame_step:g} frames"
    height, width = cut.crop_size
    pixels = f"{height} x {width} pixels, normalised by mean {cut.mean} and deviation {cut.std}"
    return f"{cut.num_frames} frames, {rate}, {pixels}"
