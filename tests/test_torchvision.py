"""Torchvision's compiled library and a CPU build of torch: `vjepa` makes them live together."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_timm_torchmetrics_and_lightning_import_after_vjepa():
    code = "import vjepa, timm, torchmetrics, lightning; print(timm.create_model('vit_tiny_patch16_224').embed_dim)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.stdout.strip() == "192", run.stderr
