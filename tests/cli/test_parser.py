"""The parser of commands: recipes over recipes, and mappings of parts that flags and recipes change by key."""

from pathlib import Path

import pytest

from vjepa.cli.parser import HelpfulParser, run_by_recipe


class Term:
    def __init__(self, weight: float = 1.0):
        self.weight = weight


class Agreement(Term):
    def __init__(self, weight: float = 1.0, invariance_weight: float = 2.0):
        super().__init__(weight)
        self.invariance_weight = invariance_weight


class Model:
    def __init__(self, terms: dict[str, Term | None], size: int = 3):
        self.terms = terms
        self.size = size


RECIPE = f"""
model:
  class_path: {__name__}.Model
  init_args:
    terms:
      prediction: {{class_path: {__name__}.Term}}
      agreement: {{class_path: {__name__}.Agreement, init_args: {{invariance_weight: 5.0}}}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path / "recipe.yaml"


def terms(*arguments: object) -> dict[str, dict[str, float] | None]:
    parser = HelpfulParser()
    parser.add_recipe_argument()
    parser.add_argument("--model", type=Model)
    found = parser.instantiate(parser.parse_args([str(argument) for argument in arguments])).model.terms
    return {name: None if term is None else vars(term) for name, term in found.items()}


PREDICTION, AGREEMENT = {"weight": 1.0}, {"weight": 1.0, "invariance_weight": 5.0}


@pytest.mark.parametrize(
    ("flag", "changed"),
    [
        ("--model.terms.agreement.weight=3", {"agreement": AGREEMENT | {"weight": 3.0}}),
        ("--model.terms.agreement=null", {"agreement": None}),
        (f"--model.terms.prediction={__name__}.Agreement", {"prediction": AGREEMENT | {"invariance_weight": 2.0}}),
    ],
)
def test_a_flag_changes_one_entry_of_a_mapping(recipe, flag, changed):
    assert terms("-c", recipe, flag) == {"prediction": PREDICTION, "agreement": AGREEMENT} | changed


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("{agreement: {init_args: {weight: 3.0}}}", {"agreement": AGREEMENT | {"weight": 3.0}}),
        ("{agreement: null}", {"agreement": None}),
        (f"{{agreement: {{class_path: {__name__}.Term}}}}", {"agreement": PREDICTION}),
    ],
)
def test_a_later_recipe_and_a_layer_change_one_entry_of_a_mapping(recipe, tmp_path, text, changed):
    expected = {"prediction": PREDICTION, "agreement": AGREEMENT} | changed
    (tmp_path / "later.yaml").write_text(f"model.init_args.terms: {text}\n")
    assert terms("-c", recipe, "-c", tmp_path / "later.yaml") == expected
    (tmp_path / "layer.yaml").write_text(f"base: recipe.yaml\nmodel.init_args.terms: {text}\n")
    assert terms("-c", tmp_path / "layer.yaml") == expected


class Around(Term):
    def __init__(self, inner: Term, weight: float = 1.0):
        super().__init__(weight)
        self.inner = type(inner), vars(inner)


def test_a_later_recipe_changes_the_class_of_a_part_of_an_entry(tmp_path):
    def written(name: str, inner: str) -> Path:
        entry = f"{{class_path: {__name__}.Around, init_args: {{inner: {{class_path: {__name__}.{inner}}}}}}}"
        (tmp_path / name).write_text(f"model: {{class_path: {__name__}.Model, init_args: {{terms: {{one: {entry}}}}}}}")
        return tmp_path / name

    first = written("first.yaml", "Agreement, init_args: {invariance_weight: 5.0}")
    assert terms("-c", first)["one"]["inner"] == (Agreement, AGREEMENT)
    assert terms("-c", first, "-c", written("later.yaml", "Term"))["one"]["inner"] == (Term, PREDICTION)


def test_a_flag_before_a_later_recipe_stays_where_that_says_nothing(recipe, tmp_path):
    (tmp_path / "later.yaml").write_text("model.init_args.terms.prediction: null\n")
    found = terms("-c", recipe, "--model.terms.agreement.weight=3", "-c", tmp_path / "later.yaml")
    assert found == {"prediction": None, "agreement": AGREEMENT | {"weight": 3.0}}


def test_a_command_may_ask_for_its_configuration(recipe):
    given = []

    def collect(model: Model, steps: int = 5, configuration: dict | None = None) -> None:
        given.append((model, steps, configuration))

    run_by_recipe(collect, ["-c", str(recipe), "--steps=7"], "vjepa collect", "Collect.")
    ((model, steps, configuration),) = given
    assert (steps, configuration["steps"], model.size) == (7, 7, 3)
    assert configuration["model"]["init_args"]["size"] == 3


def test_flags_and_arguments_take_home_variables_and_none(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("CLIPS", "/clips")
    parser = HelpfulParser()
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--root", type=str | None, default="here")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args(["~/a.csv", "${CLIPS}/b.csv", "c$d.csv", "--root=None", "--output=~/out"])
    assert given.sources == ["/home/me/a.csv", "/clips/b.csv", "c$d.csv"]
    assert given.root is None and given.output == Path("/home/me/out")
    assert parser.parse_args(["a", "--root", "$CLIPS"]).root == "/clips"
    assert parser.parse_args(["None", "--root", "None"]) == parser.parse_args(["None", "--root=null"])
    assert parser.parse_args(["a=~/b"]).sources == ["a=~/b"]


def test_a_recipe_by_name_finds_its_files_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parser = HelpfulParser()
    parser.add_recipe_argument(["worldmodel"])
    for key in ("model", "data", "trainer"):
        parser.add_argument(f"--{key}", type=dict)
    root = Path(__file__).parents[2] / "data" / "two_rooms"
    found = parser.parse_args(["-c", "two_rooms"]).data["init_args"]["root"]
    assert found == (str(root) if root.exists() else "data/two_rooms")
