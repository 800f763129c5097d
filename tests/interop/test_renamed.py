"""Class paths of older versions."""

import importlib

import pytest

from vjepa.interop.renamed import CLASS_PATHS, renamed


@pytest.mark.parametrize("old", CLASS_PATHS)
def test_an_old_class_path_leads_to_a_class(old):
    new, notes = renamed({"class_path": old})
    module, _, name = new["class_path"].rpartition(".")
    assert isinstance(getattr(importlib.import_module(module), name), type)
    assert notes == [f"the class {old} is {new['class_path']} now"]
