"""The benchmarks run, in small, and compare what is equal."""

import csv
import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    yield importlib.import_module
    for name in ("bench", "reference", "gpu"):
        sys.modules.pop(name, None)


def test_the_reference_step_has_our_loss_and_gradients(load):
    bench = load("bench")
    shape = bench.SHAPES["tiny"]
    model, batch = bench.model_of(shape), bench.batch_of(shape)
    reference = load("reference").ReferenceStep(model, checkpointing=True)
    ours, theirs = model.step(batch).losses["loss"], reference.loss(batch)
    assert float(ours.detach()) == pytest.approx(float(theirs.detach()), abs=1e-6)
    ours.backward()
    theirs.backward()
    for (name, mine), plain in zip(model.named_parameters(), reference.model.parameters(), strict=True):
        if mine.requires_grad:
            assert (mine.grad - plain.grad).norm() <= 1e-5 * plain.grad.norm() + 1e-9, name


@pytest.mark.slow
def test_the_comparison_writes_a_dated_table(load, tmp_path):
    load("bench").main(["--rounds=1", "--shapes", "tiny", f"--output={tmp_path}"])
    (table,) = tmp_path.glob("*.json")
    found = json.loads(table.read_text())
    assert len(found["rows"]) == 6
    assert all(row["ratio"] > 0 for row in found["rows"])
    assert table.stem == found["date"] and table.with_suffix(".md").read_text().count("\n| ") == 7


def test_the_script_for_gpus_runs_in_small(load, tmp_path):
    file = tmp_path / "gpu.csv"
    load("gpu").main(["--tiny", "--compile", "eager", "--attention", "flash", "--steps=1", f"--output={file}"])
    with file.open() as opened:
        rows = list(csv.DictReader(opened))
    assert [row["checkpointing"] for row in rows] == ["none", "selective", "full"]
    assert all(float(row["loss_difference"]) == 0 and float(row["clips_per_second"]) > 0 for row in rows)
    assert "failed" not in rows[0]
