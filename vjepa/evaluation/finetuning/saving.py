"""A fine-tuned encoder and its head as a native folder, which every command takes as a checkpoint."""

from pathlib import Path
from typing import Any

from vjepa.data.atomic_file import write_json
from vjepa.data.clips.labelled_clips import LabelledClips
from vjepa.evaluation.finetuning.adapters import Adapters
from vjepa.evaluation.finetuning.classifier import ClipClassifier
from vjepa.interop.loading import write_weights
from vjepa.interop.native import write_native
from vjepa.interop.portable import Origin, Part, PortableModel, Preprocessing
from vjepa.models import AttentiveProbe


def save(
    folder: Path,
    classifier: ClipClassifier,
    adapters: Adapters | None,
    encoder_settings: dict[str, Any],
    clips: LabelledClips,
    source: str,
) -> None:
    """Write `folder` with encoder and head, `classes.json` and, for low-rank adapters, the folder `adapters` in peft's
    format. The adapters are merged into the encoder that was handed in."""
    if adapters is not None:
        adapters.save(folder / "adapters")
        adapters.merge()
    classifier.cpu()
    folder.mkdir(parents=True, exist_ok=True)
    encoder, head, frames = classifier.encoder, classifier.head, clips.frames
    classifiers = []
    if isinstance(head, AttentiveProbe):
        settings = {
            "embed_dim": encoder.embed_dim,
            "num_classes": [len(clips.class_names)],
            "depth": len(head.blocks) + 1,
            "num_heads": encoder.embed_dim // head.cross_attention_block.xattn.head_dim,
        }
        classifiers.append(Part(settings, head.state_dict()))
    else:
        write_weights(dict(head.state_dict()), folder / "head.safetensors")
    fps = frames.fps if frames.duration is None else frames.num_frames / frames.duration
    model = PortableModel(
        "vjepa",
        Part(encoder_settings, encoder.state_dict()),
        classifiers=classifiers,
        preprocessing=Preprocessing(frames.num_frames, clips.crop_size, fps, frames.frame_step),
        origin=Origin(source, "fine-tuned", str(clips.manifests["train"].source)),
    )
    write_native(model, folder)
    write_json(folder / "classes.json", {"head": classifier.candidate.kind, "classes": clips.class_names})
