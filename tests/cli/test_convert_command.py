"""`vjepa convert`: what it writes, what it says, and what it refuses."""

from pathlib import Path

import pytest

import vjepa
from tests.interop.tiny_models import assert_equal, tiny_model
from vjepa.cli.main import main
from vjepa.interop import open_model
from vjepa.interop.released import write_released


@pytest.fixture
def released(tmp_path: Path) -> Path:
    write_released(tiny_model(), tmp_path / "vitl.pt")
    return tmp_path / "vitl.pt"


def slip(capsys: pytest.CaptureFixture, *arguments: object) -> str:
    with pytest.raises(SystemExit) as exit_:
        main(["convert", *map(str, arguments)])
    assert exit_.value.code == 2
    return capsys.readouterr().err


def test_each_format_is_written_with_its_card(released: Path, tmp_path: Path, capsys):
    for to, name, card in (
        ("native", "native", "native/README.md"),
        ("huggingface", "hf", "hf/README.md"),
        ("meta", "again.pt", "again.md"),
    ):
        main(["convert", str(released), str(tmp_path / name), "--to", to])
        said = capsys.readouterr().out
        assert "vitl.pt (released checkpoint): all weights fit" in said and "trained mask tokens: 0, 2" in said
        assert_equal(tiny_model(), open_model(tmp_path / name)[0])
        text = (tmp_path / card).read_text()
        assert f"Source: {released}, its `target_encoder`" in text
        assert "Licence: MIT (the released code of V-JEPA 2)" in text and "Data: not stated in the source" in text
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_card_tells_a_recipe_and_the_licence_that_is_given(tmp_path: Path):
    main(["convert", "synthetic_2_1", str(tmp_path / "model"), "--to=native", "--licence=CC0"])
    card = (tmp_path / "model" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: vjepa\n") and 'license_name: "CC0"' in card
    assert "Licence: CC0" in card and "random weights, seed 0" in card and "frames, one of 2 frames" in card
    assert vjepa.load_encoder(tmp_path / "model").family == "vjepa"


def test_flags_of_encoders_are_refused_for_a_world_model(tmp_path: Path, capsys):
    said = slip(capsys, "two_rooms", tmp_path / "onnx", "--to=onnx", "--licence=mit", "--which=target")
    assert "--which, --licence is for encoders, and two_rooms is a world model; leave it out" in said


def test_nothing_is_overwritten_unless_asked(released: Path, tmp_path: Path, capsys):
    for to, name in (("native", "model"), ("meta", "model.pt")):
        arguments = ["convert", str(released), str(tmp_path / name), "--to", to]
        main(arguments)
        assert f"{name} is there already; give another destination, or --overwrite" in slip(capsys, *arguments[1:])
        main([*arguments, "--overwrite"])
        assert_equal(tiny_model(), open_model(tmp_path / name)[0])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("none.pt", "out", "--to=native"), "there is no file, folder or recipe none.pt"),
        (("synthetic", "out", "--to=huggingface"), "transformers' model has position rotary_tiled where this encoder"),
        (("synthetic", ".", "--to=meta"), "is a folder; for --to meta give a file, e.g. model.pt"),
        (("synthetic", "out", "--to=gguf"), "'to': expected one of ['native', 'meta', 'huggingface', 'onnx']"),
        (("synthetic", "out"), "missing 'to'; see `--help`"),
        (("synthetic", "out", "--to=native", "--numheads=3"), "unknown key 'numheads'; did you mean 'num_heads'?"),
        (("synthetic", "out", "--to=native", "--which=target"), "has one encoder; leave out which"),
    ],
)
def test_slips_are_named(arguments, sentence, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert sentence in slip(capsys, *arguments)
    assert not list(tmp_path.iterdir())
