"""`vjepa import-recipe`, as a user runs it: what it writes is a recipe that `vjepa fit` takes."""

from pathlib import Path

import pytest
import yaml

from tests.cli.test_errors import slip
from tests.cli.test_recipes import parts
from tests.interop.test_upstream_recipe import ALL, V2
from vjepa.cli.main import main


def written(folder: Path, upstream: object) -> Path:
    path = folder / "theirs.yaml"
    path.write_text(upstream if isinstance(upstream, str) else yaml.safe_dump(upstream), encoding="utf-8")
    return path


@pytest.mark.parametrize("version", ["V1", "cooldown", "V2.1"])
def test_what_it_writes_is_a_recipe(tmp_path, capsys, version):
    output = tmp_path / "ours.yaml"
    main(["import-recipe", str(written(tmp_path, ALL[version])), "-o", str(output)])
    said, text = capsys.readouterr().out, output.read_text(encoding="utf-8")
    found = parts(str(output))
    assert found.trainer.max_steps == ALL[version]["optimization"]["epochs"] * 300
    assert found.model.context_encoder.embed_dim == 1024
    assert found.data.seed == ALL[version]["meta"]["seed"]
    assert found.model.context_encoder.blocks[0].activation_checkpointing == (version != "V1")
    assert "optimization.ipe_scale: schedules are made for" in said
    assert "# * optimization.ipe_scale: schedules are made for" in text
    assert max(len(line) for line in text.splitlines() if str(output) not in line) <= 120
    assert [line for line in text.splitlines() if line.startswith("# Command:")]
    assert "&id" not in text


def test_without_an_output_the_recipe_goes_to_the_screen(tmp_path, capsys):
    main(["import-recipe", str(written(tmp_path, V2))])
    recipe = yaml.safe_load(capsys.readouterr().out)
    assert recipe["trainer"]["max_steps"] == 240_000
    assert recipe["model.init_args.encoder.activation_checkpointing"]


def test_a_recipe_that_is_there_is_not_replaced(tmp_path, capsys):
    theirs, ours = written(tmp_path, V2), tmp_path / "ours.yaml"
    ours.write_text("precious")
    assert "is there already; give another -o, or --overwrite=true" in slip(capsys, "import-recipe", theirs, "-o", ours)
    assert ours.read_text() == "precious"
    main(["import-recipe", str(theirs), "-o", str(ours), "--overwrite=true"])
    assert "trainer" in ours.read_text()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("data: [1, 2\nmask: 3", "theirs.yaml is not YAML in line 2:"),
        ("app: vjepa_droid", "app 'vjepa_droid' is not known; only pretraining and cooldown can be imported"),
        ("eval_name: image_classification_frozen", "is an evaluation (image_classification_frozen)"),
        ("a: &a !!python/object/apply:os.system [ls]", "theirs.yaml is not YAML in line 1: could not determine"),
        ("", "no mapping of keys to values"),
    ],
)
def test_what_cannot_be_imported_is_one_sentence(tmp_path, capsys, content, sentence):
    assert sentence in slip(capsys, "import-recipe", written(tmp_path, content))


def test_what_is_not_there_is_one_sentence(tmp_path, capsys):
    assert "there is no file" in slip(capsys, "import-recipe", tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00\x81")
    assert "is not text" in slip(capsys, "import-recipe", tmp_path / "bytes.yaml")
    missing = tmp_path / "none" / "ours.yaml"
    assert "there is no folder" in slip(capsys, "import-recipe", written(tmp_path, V2), "-o", missing)
