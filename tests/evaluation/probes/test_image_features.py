"""Image models per frame: any of timm's, at a size that it takes, and with weights only where they are at hand."""

import pytest
import torch

from tests.tiny_clips import tiny_clips
from vjepa.evaluation.probes.feature_cache import FeatureCache
from vjepa.evaluation.probes.image_features import ImageBackboneFeatures, weights_at_hand

timm = pytest.importorskip("timm")


def clips(num_frames: int = 4, size: int = 30) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, num_frames, size, size), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("model", ["test_vit", "test_resnet", "test_convnext"])
def test_a_frame_is_encoded_alone_whatever_the_kind_of_model(model):
    features = ImageBackboneFeatures(model, None)
    tokens = features(clips(size=64))
    width = features.backbone.num_features
    assert tokens.shape[0] == 2 and tokens.shape[2] == width and features.name.endswith("random weights")
    other = clips(size=64)
    other[:, :, 2:] = 0
    per_frame = tokens.shape[1] // 2  # every second frame is read
    torch.testing.assert_close(features(other)[:, :per_frame], tokens[:, :per_frame])
    assert not torch.allclose(features(other)[:, per_frame:], tokens[:, per_frame:])


def test_frames_are_resized_to_the_size_that_is_asked_for_and_that_patches_divide():
    at_own_size, larger = (
        ImageBackboneFeatures("test_vit", None),
        ImageBackboneFeatures("test_vit", None, image_size=60),
    )
    patch = at_own_size.backbone.patch_embed.patch_size[0]
    extra = at_own_size.backbone.num_prefix_tokens
    for features, side in ((at_own_size, 30), (larger, 60)):
        assert features(clips()).shape[1] == 2 * (extra + (-(-side // patch)) ** 2)
    assert at_own_size.fingerprint() != larger.fingerprint()


def test_random_weights_are_always_the_same_and_are_not_those_of_a_file(tmp_path):
    torch.manual_seed(5)
    torch.save(timm.create_model("test_vit", num_classes=0).state_dict(), tmp_path / "image.ckpt")
    first, second = (ImageBackboneFeatures("test_vit", None).fingerprint() for _ in range(2))
    loaded = ImageBackboneFeatures("test_vit", tmp_path / "image.ckpt")
    assert first == second != loaded.fingerprint()
    assert loaded.name == "test_vit per frame"
    torch.save({"cls_token": torch.zeros(1)}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="does not fit test_vit: it lacks"):
        ImageBackboneFeatures("test_vit", tmp_path / "other.ckpt")


def test_features_are_cached(tiny_world, tmp_path):
    features = ImageBackboneFeatures("test_vit", None)
    cache = FeatureCache(tmp_path / "features", tiny_clips(tiny_world))
    cache.encode([features], lambda line: None)
    tokens = cache.load(features, "val").tokens[0]
    assert tokens.shape[:2] == (6, 1) and tokens[0].numel() * 38 * 2 == cache.num_bytes(features)


def test_a_model_that_timm_does_not_have_is_named_with_its_neighbours():
    with pytest.raises(ValueError, match=r"timm has no image model 'resnet81'; did you mean .*resnet18"):
        ImageBackboneFeatures("resnet81", None)


def test_weights_are_at_hand_only_in_the_local_cache(tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repo, name: None)
    assert weights_at_hand("resnet18") is None
    asked = lambda repo, name: f"/cache/{repo}/{name}"  # noqa: E731
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", asked)
    assert str(weights_at_hand("resnet18")) == "/cache/timm/resnet18.a1_in1k/model.safetensors"
