"""Class paths of older versions, and the loss of a JEPA from before the table of terms."""

import importlib

import pytest

from vjepa.interop.renamed import CLASS_PATHS, renamed

CALLBACKS = ("vjepa.callbacks.Throughput", "vjepa.callbacks.gradient_norm.GradientNorm")


@pytest.mark.parametrize("old", [*CLASS_PATHS, *CALLBACKS])
def test_an_old_class_path_leads_to_a_class(old):
    new, notes = renamed({"class_path": old})
    module, _, name = new["class_path"].rpartition(".")
    assert isinstance(getattr(importlib.import_module(module), name), type)
    assert notes == [f"the class {old} is {new['class_path']} now"]


def test_an_old_loss_of_a_jepa_becomes_a_table_of_terms():
    vicreg = {"class_path": "vjepa.objectives.VarianceCovariance"}
    old = {"loss_exponent": 2.0, "context_prediction": {"ramp": None}, "agreement": vicreg, "teacher": "vitl.pt"}
    new, (note,) = renamed({"class_path": "vjepa.training.JEPA", "init_args": {**old, "eps": 1e-6}})
    prediction, context = ({"exponent": 2.0}, {"ramp": None, "exponent": 2.0})
    assert new["init_args"] == {
        "eps": 1e-6,
        "terms": {
            "prediction": {"class_path": "vjepa.objectives.LatentPrediction", "init_args": prediction},
            "context": {"class_path": "vjepa.objectives.ContextPrediction", "init_args": context},
            "agreement": {"class_path": "vjepa.objectives.Agreement", "init_args": {"regularizer": vicreg}},
        },
        "targets": {"class_path": "vjepa.training.Teacher", "init_args": {"source": "vitl.pt"}},
    }
    assert note.startswith("a JEPA's loss is a table of `terms`")


def test_an_old_layer_without_agreement_removes_that_of_its_base():
    new, _ = renamed({"class_path": "vjepa.training.JEPA", "init_args": {"agreement": None}})
    assert new["init_args"]["terms"]["agreement"] is None
