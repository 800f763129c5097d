"""`vjepa plan-run`: figures of a recipe, and the setting that would fit where it doesn't."""

import re

import pytest

from vjepa.cli.main import main

RECIPE = "vjepa2_vitl16_256px_16f"


def planned(capsys, *flags: str) -> dict[str, str]:
    main(["plan-run", RECIPE, *flags])
    return dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines() if "  " in line)


@pytest.mark.slow
def test_a_published_recipe_is_planned(capsys):
    lines = {name: text.strip() for name, text in planned(capsys, "--gpu=h100", "--devices=128").items()}
    assert lines["parameters"] == "encoder 303.9 M, predictor 22.1 M"
    assert lines["batch"] == "24 clips a GPU, 3,072 on 128"
    assert lines["strategy"].endswith("target of a GPU: ddp 6.4 GB, in 128 shards 0.3 GB")
    assert lines["checkpoint"] == "5.1 GB"
    assert lines["length"] == "240,000 steps, 737.3 M clips"
    flops = float(re.match(r"([\d.]+) T a clip", lines["FLOPs"])[1])
    assert flops == pytest.approx(3.5, rel=0.1)  # 3.55 at the masks of a usual batch
    clips = float(re.match(r"([\d,]+) clips", lines["speed"])[1].replace(",", ""))
    assert clips == pytest.approx(128 * 0.4 * 989 / flops, rel=0.01)
    hours, gpu_hours = (
        float(each.replace(",", "")) for each in re.findall(r"([\d,.]+) (?:hours|GPU-hours)", lines["time"])
    )
    assert hours == pytest.approx(240_000 * 3072 / clips / 3600, rel=0.01)
    assert gpu_hours == pytest.approx(128 * hours, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "way_out"),
    [
        (
            ("--gpu=a100-40gb", "--devices=128", "--efficiency.activation_checkpointing=false"),
            "--efficiency.activation_checkpointing=selective",
        ),
        (
            ("--gpu=a100-40gb", "--devices=4"),
            r"--efficiency.activation_checkpointing=true and --efficiency.max_micro_batch=(\d+)",
        ),
        (("--gpu=l4", "--devices=3072", "--model.encoder.size=gigantic"), "alone take [0-9]+ GB: give GPUs of more"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_setting_that_would(capsys, flags, way_out):
    with pytest.raises(SystemExit) as exit_:
        planned(capsys, *flags)
    said = capsys.readouterr().err
    assert exit_.value.code == 2
    found = re.search(way_out, said)
    assert "don't fit into the" in said and found, said
    if found.groups():
        assert 768 % int(found[1]) == 0
        planned(capsys, *flags, *found[0].split(" and "))


@pytest.mark.parametrize(
    ("flags", "rule"),
    [
        (("--gpu=abacus",), r"gpu \(abacus\) must be one of b200"),
        (("--mfu=1.5",), r"mfu \(1.5\) must be more than 0"),
        (("--devices=0",), r"devices \(0\) must be at least 1"),
    ],
)
def test_a_slip_is_answered_by_the_rule(capsys, flags, rule):
    with pytest.raises(SystemExit):
        planned(capsys, *flags)
    assert re.search(rule, capsys.readouterr().err)
