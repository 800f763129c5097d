"""Models of the Hugging Face hub by name, from a local cache: no test needs a network."""

import hashlib
from pathlib import Path

import pytest
import torch

import vjepa
from tests.interop.tiny_models import tiny_model
from vjepa.interop.hugging_face import write_hugging_face
from vjepa.interop.hugging_face.hub import is_hub_name
from vjepa.interop.native import write_native

NAME = "facebook/vjepa2-tiny"
COMMIT = "0" * 40


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The snapshot of a tiny model in a cache as huggingface_hub lays it out, without a network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    repository = tmp_path / "cache" / "models--facebook--vjepa2-tiny"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "blobs").mkdir()
    return snapshot


def put(folder: Path, snapshot: Path) -> None:
    for file in folder.iterdir():
        content = file.read_bytes()
        blob = snapshot.parents[1] / "blobs" / hashlib.sha256(content).hexdigest()
        blob.write_bytes(content)
        (snapshot / file.name).symlink_to(blob)


def test_a_model_in_the_cache_is_loaded_by_its_name(cached: Path, tmp_path: Path):
    write_hugging_face(tiny_model(), tmp_path / "written")
    put(tmp_path / "written", cached)
    by_name, by_folder = vjepa.load_encoder(NAME), vjepa.load_encoder(tmp_path / "written")
    clips = torch.randint(0, 256, (1, 3, 4, 32, 32), dtype=torch.uint8)
    assert torch.equal(by_name(clips), by_folder(clips)) and by_name.source == NAME


def test_a_native_folder_may_be_on_the_hub_too(cached: Path, tmp_path: Path):
    write_native(tiny_model("V-JEPA 2.1"), tmp_path / "written")
    put(tmp_path / "written", cached)
    assert vjepa.load_encoder(NAME).family == "V-JEPA 2.1"


def test_a_damaged_file_is_refused(cached: Path, tmp_path: Path):
    write_hugging_face(tiny_model(), tmp_path / "written")
    put(tmp_path / "written", cached)
    blob = (cached / "model.safetensors").resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=r"model.safetensors is damaged: its sha256 is .*, the hub states .*; delete"):
        vjepa.load_encoder(NAME)


def test_without_network_and_cache_one_sentence_says_what_to_do(cached: Path):
    with pytest.raises(
        ValueError, match=r"can't be reached, and its cache .* does not hold it: .* `hf download some/mod"
    ):
        vjepa.load_encoder("some/model")


def test_a_path_is_not_taken_for_a_name_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert is_hub_name("facebook/vjepa2-vitl-fpc64-256")
    assert not any(map(is_hub_name, ("runs/mine", "a/b/c", "model.pt", "/a/b", "../a", "synthetic")))
