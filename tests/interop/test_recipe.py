"""Recipes in layers: a recipe says what differs from its base, and every reader sees the same whole."""

from pathlib import Path

import pytest

from vjepa.interop import renamed
from vjepa.interop.recipe import HOME, find_recipe, merged, read_recipe

BASE = """
model:
  class_path: vjepa.training.JEPA
  init_args:
    encoder: {embed_dim: 96, depth: 3}
    terms:
      spread: {class_path: vjepa.objectives.SIGReg, init_args: {weight: 5.0, invariance_weight: 0.4}}
data: {init_args: {crop_size: [64, 64], num_frames: 8}}
trainer.max_steps: 1500
"""


def written(folder: Path, **recipes: str) -> Path:
    """The last of these recipes."""
    for name, text in recipes.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder / f"{name}.yaml"


def test_a_layer_changes_what_it_names_and_nothing_else(tmp_path):
    layer = "base: base.yaml\nmodel.init_args.encoder.depth: 4\ndata: {init_args: {crop_size: [32]}}\n"
    whole, base = read_recipe(written(tmp_path, base=BASE, layer=layer)), read_recipe(tmp_path / "base.yaml")
    assert whole["model"]["init_args"]["encoder"] == {"embed_dim": 96, "depth": 4}
    assert whole["data"]["init_args"] == {"crop_size": [32], "num_frames": 8}  # a list is replaced
    assert whole["trainer"] == base["trainer"] == {"max_steps": 1500}
    assert "base" not in whole


@pytest.mark.parametrize("nothing", ["null", "None", "~", ""])
def test_null_removes_a_part(tmp_path, nothing):
    layer = f"base: base.yaml\nmodel.init_args.terms.spread: {nothing}\n"
    assert read_recipe(written(tmp_path, base=BASE, layer=layer))["model"]["init_args"]["terms"]["spread"] is None


def test_home_and_variables_are_filled_in(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("CLIPS", "/clips")
    paths = ["~/a.csv", "$CLIPS/a.csv", "${CLIPS}/a.csv", "a$b ~/.csv", "${oc.env:CLIPS}", "null"]
    recipe = written(tmp_path, layer=f"data: {{root: $CLIPS, mixture: [{', '.join(map(repr, paths))}]}}\n")
    whole = ["/home/me/a.csv", "/clips/a.csv", "/clips/a.csv", "a$b ~/.csv", "${oc.env:CLIPS}", "null"]
    assert read_recipe(recipe)["data"] == {"root": "/clips", "mixture": whole}


def test_another_class_starts_without_the_arguments_of_the_base_s(tmp_path):
    other = {"class_path": "vjepa.objectives.BarlowTwins", "init_args": {"weight": 1.0}}
    layer = f"base: base.yaml\nmodel.init_args.terms.spread: {other}\n"
    assert read_recipe(written(tmp_path, base=BASE, layer=layer))["model"]["init_args"]["terms"]["spread"] == other
    same = {"class_path": "vjepa.objectives.SIGReg", "init_args": {"weight": 1.0}}
    base = read_recipe(tmp_path / "base.yaml")["model"]["init_args"]["terms"]["spread"]
    assert merged(base, same)["init_args"] == {"weight": 1.0, "invariance_weight": 0.4}


def test_bases_chain_and_their_paths_are_relative_to_each_file(tmp_path):
    (tmp_path / "family").mkdir()
    written(tmp_path, base=BASE)
    written(tmp_path / "family", large="base: ../base.yaml\ntrainer.max_steps: 3\n")
    layer = written(tmp_path, layer="base: family/large.yaml\ntrainer.devices: 8\n")
    assert read_recipe(layer)["trainer"] == {"max_steps": 3, "devices": 8}


def test_later_dotted_keys_win_and_small_numbers_are_numbers(tmp_path):
    recipe = written(tmp_path, recipe="trainer: {max_steps: 5}\ntrainer.max_steps: 7\nmodel: {lr.peak: 1e-4}\n")
    assert read_recipe(recipe) == {"trainer": {"max_steps": 7}, "model": {"lr": {"peak": 1e-4}}}


def test_old_names_are_renewed_in_every_layer_with_one_line_each(tmp_path, capsys):
    renamed.note.cache_clear()
    old = "base: base.yaml\ndata.init_args.flip_share: 0.0\n"
    recipe = written(tmp_path, base="data: {init_args: {flip_share: 0.5, val_share: 0.1}}\n", layer=old)
    assert read_recipe(recipe) == {"data": {"init_args": {"flip_probability": 0.0, "val_fraction": 0.1}}}
    read_recipe(recipe)
    said = capsys.readouterr().err
    assert said.count("layer.yaml: the key 'flip_share' is called 'flip_probability' now") == 1
    assert said.count("base.yaml: the key 'val_share' is called 'val_fraction' now") == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("base: none.yaml\n", "base (none.yaml) in recipe.yaml must be a recipe beside it; there is no "),
        ("base: [a.yaml]\n", "base (['a.yaml']) in recipe.yaml must be the path of one recipe beside it"),
        ("base: recipe.yaml\n", "base (recipe.yaml) in recipe.yaml leads back to recipe.yaml"),
        ("base: cycle.yaml\n", "base (recipe.yaml) in cycle.yaml leads back to recipe.yaml"),
        ("base: list.yaml\n", "list.yaml is not a recipe: it has no keys such as model, data or trainer"),
        ("base: broken.yaml\n", "broken.yaml is not YAML in line 2"),
        ("- 3\n", "recipe.yaml is not a recipe"),
        ("", "recipe.yaml is not a recipe"),
    ],
)
def test_a_wrong_base_is_one_sentence(tmp_path, monkeypatch, text, sentence):
    monkeypatch.chdir(tmp_path)
    written(Path(), list="- 3\n", broken="model: [3\n", cycle="base: recipe.yaml\n", recipe=text)
    with pytest.raises(ValueError) as error:
        read_recipe(Path("recipe.yaml"))
    assert sentence in str(error.value)


def test_flags_may_have_old_names(capsys):
    renamed.note.cache_clear()
    mask = '--data.masks=[{"class_path": "vjepa.masking.RandomTokens", "init_args": {"share": 0.9}}]'
    flags = renamed.renamed_flags(["fit", "--data.flip_share=0", "--trainer.max_steps=3", mask])
    today = mask.replace("share", "mask_ratio")
    assert flags == ["fit", "--data.flip_probability=0", "--trainer.max_steps=3", today]
    assert "the key 'data.flip_share' is called 'data.flip_probability' now" in capsys.readouterr().err


# --- paths


def project(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("")


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (("here/data/a.csv", "project/data/a.csv"), "data/a.csv"),  # the current folder comes first
        (("project/configs/pretrain/data/a.csv", "project/data/a.csv"), "{folder}/project/configs/pretrain/data/a.csv"),
        (("project/data/a.csv",), "{folder}/project/data/a.csv"),
        (("data/a.csv",), "{folder}/data/a.csv"),
        ((), "data/a.csv"),
    ],
)
def test_files_are_looked_up_from_here_then_from_the_recipe(tmp_path, monkeypatch, there, expected):
    project(tmp_path, "here/x", "project/configs/pretrain/x", *there)
    recipe = tmp_path / "project/configs/pretrain/recipe.yaml"
    recipe.write_text("data: {train_manifest: data/a.csv, mixture: [{manifest: data/a.csv}], label: data/a.csv}\n")
    above = tmp_path / "here" / "above.yaml"
    above.write_text(f"base: {recipe}\nruns: data/a.csv\n")
    monkeypatch.chdir(tmp_path / "here")
    found = expected.format(folder=tmp_path)
    data = {"train_manifest": found, "mixture": [{"manifest": found}], "label": "data/a.csv"}
    assert read_recipe(recipe) == {"data": data}
    assert read_recipe(above) == {"data": data, "runs": "data/a.csv"}


def test_absolute_and_remote_paths_stay(tmp_path):
    recipe = written(tmp_path, recipe="data: {root: s3://bucket/a, train_manifest: /nowhere/b.csv, val_manifest: ''}\n")
    found = {"root": "s3://bucket/a", "train_manifest": "/nowhere/b.csv", "val_manifest": ""}
    assert read_recipe(recipe) == {"data": found}


def test_a_base_is_looked_up_as_other_files_are(tmp_path, monkeypatch):
    written(tmp_path, base="data: {num_frames: 4}\n")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "recipe.yaml").write_text("base: base.yaml\n")
    monkeypatch.chdir("/")
    assert read_recipe(tmp_path / "below" / "recipe.yaml") == {"data": {"num_frames": 4}}


@pytest.mark.parametrize(
    ("name", "room"),
    [("synthetic", "pretrain"), ("two_rooms", "worldmodel"), ("two_rooms", "plan"), ("synthetic", "probe")],
)
def test_a_recipe_is_found_by_name_or_path_from_anywhere(tmp_path, monkeypatch, name, room):
    monkeypatch.chdir(tmp_path)
    file = HOME / "configs" / room / f"{name}.yaml"
    assert find_recipe(name, [room]) == find_recipe(f"configs/{room}/{name}.yaml") == file
    assert find_recipe("none", [room]) is None
    here = written(tmp_path, synthetic="data: {}\n")
    assert find_recipe(here.name) == Path(here.name)
