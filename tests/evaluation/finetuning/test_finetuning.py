"""Fine-tuning trains what it says, leaves the rest as it was, and writes models that other commands take."""

import json
import sys
from pathlib import Path

import pytest
import torch

from tests.tiny_clips import tiny_clips
from vjepa.data.atomic_file import write_table
from vjepa.data.clips.batch import normalize_clips
from vjepa.data.clips.cuts import TrainingCuts
from vjepa.evaluation.finetuning.adapters import Adapters, LowRank
from vjepa.evaluation.finetuning.classifier import ClipClassifier, Tuning
from vjepa.evaluation.finetuning.finetuning import FineTuning
from vjepa.evaluation.finetuning.layer_rates import layer_groups, layer_of
from vjepa.evaluation.probes.sweep import Candidate, HeadKind, Sweep
from vjepa.interop.loading import read_tensors
from vjepa.interop.opening import open_model, open_run
from vjepa.interop.run_folder import PretrainedRun, RunSettings
from vjepa.models import AttentiveProbe, VideoEncoder

SETTINGS = {"embed_dim": 24, "depth": 2, "num_heads": 2, "tubelet": [2, 8, 8], "difference_gain": 2.0}
SWEEP = Sweep(("attentive",), (1e-2,), (0.1,), num_epochs=1, min_steps=2, batch_size=8, num_heads=2)


def encoder(seed: int = 5) -> VideoEncoder:
    torch.manual_seed(seed)
    return VideoEncoder(**SETTINGS)


def run_of(weights: VideoEncoder) -> PretrainedRun:
    named = {f"encoder.{name}": tensor for name, tensor in weights.state_dict().items()}
    return PretrainedRun(Path("runs/a"), named, RunSettings(SETTINGS, None, {}, seed=0), step=None)


def clips(seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (3, 3, 4, 32, 32), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


class Tuned:
    """Fine-tuning that has run on the small embedded dataset."""

    def __init__(self, world: Path, folder: Path | None = None, **settings):
        self.said: list[str] = []
        given = tiny_clips(world, flip_probability=0.5, cache_gigabytes=0.1)
        settings = {"methods": ["whole"], "sweep": SWEEP, "accelerator": "cpu"} | settings
        self.tuning = FineTuning(given, run_of(encoder()), folder=folder, report=self.said.append, **settings)
        self.results = self.tuning.run()


def test_a_layer_s_rate_falls_with_its_distance_from_the_head():
    network, head = encoder(), AttentiveProbe(24, [3], num_heads=2)
    groups = layer_groups(network, head, 0.1, 0.5, 0.04)
    rates = {id(weight): group["lr"] for group in groups for weight in group["params"]}
    expected = {"patch_embed": 0.0125, "blocks.0": 0.025, "blocks.1": 0.05, "norm": 0.1}
    for name, weight in network.named_parameters():
        (rate,) = (rate for prefix, rate in expected.items() if name.startswith(f"{prefix}."))
        assert rates.pop(id(weight)) == pytest.approx(rate), name
    assert set(map(id, head.parameters())) == set(rates) and set(rates.values()) == {0.1}
    decays = {weight.ndim: group["weight_decay"] for group in groups for weight in group["params"]}
    assert decays[1] == 0.0 and decays[2] == 0.04
    assert layer_of("class_token", 2) == 0 and layer_of("level_norms.0.weight", 2) == 3
    assert layer_of("blocks.11.norm1.weight", 24) == 12


def classifier(network: VideoEncoder, kind: HeadKind = "attentive", head_warmup: float = 0.5) -> ClipClassifier:
    tuning = Tuning(0.5, head_warmup)
    return ClipClassifier(network, Candidate(kind, 0.1, 0.0), SWEEP, tuning, 3, 8, TrainingCuts((32, 32)))


def test_the_head_learns_first_and_then_both():
    module = classifier(encoder())
    assert module.head_steps == 4
    assert [module.learning_rate_factor(True, step) for step in range(4)] == [0.0] * 4
    assert [module.learning_rate_factor(False, step) for step in range(4)] == [1.0] * 4
    later = [module.learning_rate_factor(True, step) for step in range(4, 9)]
    assert later == [module.learning_rate_factor(False, step) for step in range(4, 9)]
    assert later[0] == 1.0 and later == sorted(later, reverse=True) and later[-1] == pytest.approx(0)


@pytest.mark.parametrize("kind", ["linear", "attentive"])
def test_segments_are_one_sequence_and_views_are_averaged_later(kind: HeadKind):
    module = classifier(encoder(), kind).eval()
    both = clips().repeat_interleave(2, 0)
    alone = module(clips(), 1, 1)
    torch.testing.assert_close(module(both, 2, 2), alone)  # the same clip twice
    torch.testing.assert_close(module(both, 2, 1), alone.expand(3, 2, 3))


@pytest.mark.slow  # peft takes seconds to import
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mlp", [False, True])
def test_adapters_alone_are_trained_and_merge_into_the_encoder(tmp_path, mlp: bool):
    plain, network = encoder(), encoder()
    adapters = Adapters(network, LowRank(rank=2, mlp=mlp))
    trained = {name: each for name, each in network.named_parameters() if each.requires_grad}
    parts = {name.partition(".lora_")[0].split(".", 2)[2] for name in trained}
    assert parts == {"attn.qkv", "attn.proj"} | ({"mlp.fc1", "mlp.fc2"} if mlp else set())
    pixels = normalize_clips(clips())
    torch.testing.assert_close(network(pixels), plain(pixels))  # nothing is added before they are trained
    with torch.no_grad():
        for weight in trained.values():
            weight.copy_(0.1 * torch.ones_like(weight).cumsum(-1).sin())  # as if they had been trained
    adapted = network(pixels).detach()
    assert (adapted - plain(pixels)).abs().max() > 0.01
    adapters.save(tmp_path)
    adapters.merge()
    assert list(network.state_dict()) == list(plain.state_dict())
    torch.testing.assert_close(network(pixels), adapted, atol=1e-5, rtol=1e-5)
    changed = {name for name, tensor in network.state_dict().items() if not tensor.equal(plain.state_dict()[name])}
    assert {name.split(".", 2)[2].removesuffix(".weight") for name in changed} == parts
    from peft import PeftModel

    again = PeftModel.from_pretrained(encoder(), str(tmp_path))
    torch.testing.assert_close(again.get_base_model()(pixels), adapted, atol=1e-5, rtol=1e-5)


@pytest.mark.slow  # peft takes seconds to import
@pytest.mark.filterwarnings("ignore")
def test_rank_four_trains_less_than_two_hundredths_of_a_small_encoder():
    network = VideoEncoder(embed_dim=96, depth=3, num_heads=4, tubelet=(2, 8, 8))
    size = sum(each.numel() for each in network.parameters())
    Adapters(network, LowRank())
    assert 0 < sum(each.numel() for each in network.parameters() if each.requires_grad) <= 0.02 * size


@pytest.mark.slow  # trains four networks
@pytest.mark.filterwarnings("ignore")
def test_all_methods_are_rows_of_one_table_and_their_models_can_be_read(tiny_world, tmp_path):
    methods = ["whole", "lora", "frozen", "scratch"]
    done = Tuned(tiny_world, tmp_path, methods=methods, low_rank=LowRank(1))
    assert [result.features for result in done.results] == ["whole", "low-rank", "frozen", "from scratch"]
    assert {result.scores.num_clips for result in done.results} == {6}
    trained = done.tuning.trained
    assert trained["whole"].fraction == trained["from scratch"].fraction == 1.0
    assert 0 < trained["low-rank"].fraction < 0.05 and trained["frozen"].encoder == 0
    assert len({count.head for count in trained.values()}) == 1
    pixels = normalize_clips(clips())
    tokens = {name: open_run(tmp_path / name).encoder()(pixels) for name in ("whole", "lora", "scratch")}
    before = encoder()(pixels)
    assert all((each - before).abs().max() > 1e-3 for each in tokens.values())
    assert (tokens["scratch"] - tokens["whole"]).abs().max() > 1e-3
    assert open_run(tmp_path / "whole").encoder().difference_gain == 2.0
    assert {path.name for path in (tmp_path / "lora" / "adapters").iterdir()} >= {"adapter_model.safetensors"}
    assert len(json.loads((tmp_path / "whole" / "classes.json").read_text())["classes"]) == 12


def test_both_kinds_of_heads_are_written_beside_the_encoder(tiny_world, tmp_path):
    heads = Sweep(("linear", "attentive"), (1e-2,), (0.1,), num_epochs=1, min_steps=1, batch_size=8, num_heads=2)
    Tuned(tiny_world, tmp_path, sweep=heads)
    (attentive,), (linear,) = open_model(tmp_path / "whole_attentive")[0].classifiers, [tmp_path / "whole_linear"]
    assert list(attentive.settings["num_classes"]) == [12]
    assert set(read_tensors(linear / "head.safetensors")) >= {"linear.weight", "linear.bias", "norm.running_mean"}
    assert open_run(linear).encoder().embed_dim == 24


def test_a_run_repeats_and_the_checkpoint_is_left_as_it_was(tiny_world, tmp_path):
    first, again = Tuned(tiny_world, tmp_path / "a"), Tuned(tiny_world, tmp_path / "b")
    assert [result[:8] for result in first.results] == [result[:8] for result in again.results]
    ours, theirs = (open_run(tmp_path / name / "whole").encoder().state_dict() for name in "ab")
    assert all(tensor.equal(theirs[name]) for name, tensor in ours.items())
    kept = first.tuning.run_to_tune.encoder().state_dict()
    assert all(tensor.equal(kept[name]) for name, tensor in encoder().state_dict().items())


def test_a_head_warmup_over_all_steps_but_the_last_leaves_deep_layers_near(tiny_world, tmp_path):
    """The encoder moves only after the warm-up, and less where the layer is deeper."""
    Tuned(tiny_world, tmp_path, tuning=Tuning(layer_decay=0.1, head_warmup=0.5))
    tuned, before = open_run(tmp_path / "whole").encoder().state_dict(), encoder().state_dict()
    moved = {name: (tuned[name] - before[name]).abs().max() for name in before}
    assert 0 < moved["patch_embed.proj.weight"] < moved["blocks.0.attn.qkv.weight"] < moved["blocks.1.attn.qkv.weight"]
    assert moved["patch_embed.proj.weight"] < 0.1 * moved["blocks.1.attn.qkv.weight"]


def test_seeds_change_the_order_of_clips_but_not_the_splits(tiny_world):
    given = tiny_clips(tiny_world)
    other = given.reseeded(1)
    assert other.manifests == given.manifests and other.cuts == given.cuts
    orders = [next(iter(each.training_batches(given.labelled_rows("all"), 8, 1))).rows for each in (given, other)]
    assert not orders[0].equal(orders[1])
    assert given.reseeded(1).seed == other.seed != given.reseeded(0).seed


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: LowRank(rank=0), r"rank \(0\) of low-rank adapters must be at least 1; try 4"),
        (lambda: Tuning(layer_decay=0.0), r"layer_decay \(0.0\) must be more than 0 and at most 1; try 0.75"),
        (lambda: Tuning(layer_decay=1.5), r"layer_decay \(1.5\) must be more than 0"),
        (lambda: Tuning(head_warmup=1.0), r"head_warmup \(1.0\) must be at least 0 and below 1"),
    ],
)
def test_settings_out_of_range_are_refused(make, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_what_cannot_be_fine_tuned_is_refused_before_anything_is_trained(tiny_world, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="methods must name at least one of whole, lora, frozen, scratch"):
        Tuned(tiny_world, methods=[])
    with pytest.raises(ValueError, match="must be more than 0, or 'all'"):
        Tuned(tiny_world, labels_per_class=[0])
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match=r"low-rank adaptation needs peft: pip install 'video-jepa\[finetune\]'"):
        Tuned(tiny_world, methods=["whole", "lora"])
    paths = sorted(str(path) for path in (tiny_world / "videos").rglob("*.mp4"))[:6]
    for name in ("train", "val", "test"):
        write_table(tmp_path / f"{name}.csv", ["path", "label"], [{"path": path, "label": "walk"} for path in paths])
    with pytest.raises(ValueError, match=r"are of class 'walk' \(column 'label'\); a probe needs two classes or more"):
        Tuned(tmp_path)
