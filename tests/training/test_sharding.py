"""Networks in shards: the gradients of whole ones, by compiled blocks too, and values from rank 0 alone."""

import copy

import jaxtyping
import pytest
import torch
from jsonargparse import Namespace
from torch._dynamo.testing import CompileCounter
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from tests.training.test_jepa import batch, jepa
from tests.training.tiny_dot_world import dot_model
from vjepa.cli.main import main
from vjepa.cli.training import _takes_weights_of_rank_0
from vjepa.data.clips.batch import Views
from vjepa.data.clips.quarantine import Failure
from vjepa.models import update_ema
from vjepa.monitoring.health.weight_statistics import weight_distance
from vjepa.training.cost.efficiency import compile_blocks
from vjepa.training.devices.sharding import shard, whole_encoder

CPU = torch.device("cpu")


@pytest.fixture
def mesh(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,), mesh_dim_names=("shard",))
    torch.distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore")  # of torch's own, while it compiles
def test_gradients_target_and_copies_are_those_of_whole_networks(mesh, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # a compiler would look into the checks too
    torch._dynamo.reset()
    plain = jepa()
    sharded = copy.deepcopy(plain)
    shard(sharded, mesh, CPU)
    assert all(isinstance(part, DTensor) for part in sharded.parameters())
    counter = CompileCounter()
    compile_blocks(sharded.context_encoder, backend=counter)
    for module in (plain, sharded):
        for step in range(2):  # gradients of both add up
            module.step(batch(step)).losses["loss"].backward()
    assert counter.frame_count > 0
    for (name, ours), theirs in zip(sharded.named_parameters(), plain.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None), name
        if theirs.grad is not None:
            torch.testing.assert_close(ours.grad.full_tensor(), theirs.grad, atol=1e-7, rtol=1e-5)
    with torch.no_grad():
        for module in (plain, sharded):
            for part in module.context_encoder.parameters():
                part.mul_(2.0)
            update_ema(module.target_encoder, module.context_encoder, 0.75)
    networks = [(module.context_encoder, module.target_encoder) for module in (plain, sharded)]
    assert weight_distance(*networks[0]) == pytest.approx(weight_distance(*networks[1]), rel=1e-6)
    assert whole_encoder(sharded.target_encoder, keep=False) is None
    whole = whole_encoder(sharded.target_encoder, keep=True)
    torch.testing.assert_close(dict(whole.state_dict()), dict(plain.target_encoder.state_dict()), atol=1e-7, rtol=0)
    assert whole_encoder(plain.target_encoder, keep=True) is plain.target_encoder


def test_a_world_model_is_sharded_with_what_is_in_no_block(mesh):
    plain = dot_model()
    values = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    shard(plain, mesh, CPU)
    for name, tensor in plain.state_dict().items():
        whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        assert torch.equal(whole, values[name]), name


def test_a_tensor_that_would_stay_without_a_value_is_named(mesh):
    module = jepa()
    module.context_encoder.norm.kept = torch.empty(2, device="meta")
    with pytest.raises(
        RuntimeError, match=r"without a value after the start of all ranks: context_encoder\.norm\.kept"
    ):
        shard(module, mesh, CPU)


@pytest.mark.parametrize(
    ("strategy", "model", "rank", "on_meta"),
    [
        ("fsdp2", "vjepa.training.JEPA", 1, True),
        (Namespace(class_path="vjepa.training.devices.sharding.ShardedStrategy"), "vjepa.training.JEPA", 1, True),
        ("fsdp2", "vjepa.training.JEPA", 0, False),
        ("ddp", "vjepa.training.JEPA", 1, False),
        ("fsdp2", "vjepa.training.WorldModel", 1, False),
    ],
)
def test_only_ranks_that_are_given_values_start_without(monkeypatch, strategy, model, rank, on_meta):
    monkeypatch.setattr("vjepa.cli.training.rank_zero_only.rank", rank)
    settings = Namespace(trainer=Namespace(strategy=strategy), model=Namespace(class_path=model))
    assert _takes_weights_of_rank_0(settings) is on_meta
    assert _takes_weights_of_rank_0(Namespace(fit=settings, config=None)) is on_meta


def test_parts_of_a_batch_keep_the_rows_of_their_clips():
    whole = batch(0, num_clips=4)
    ids = torch.arange(24).view(8, 3)  # two views of each clip
    whole = whole._replace(views=[Views(None, ids)], failures=[Failure("train", "bad.mp4", "cut short")])
    first, second = whole.parts(2)
    assert torch.equal(torch.cat((first.clips, second.clips)), whole.clips)
    assert torch.equal(second.masks[1].target_ids, whole.masks[1].target_ids[2:])
    assert torch.equal(second.rows, torch.tensor([2, 3]))
    assert torch.equal(first.views[0].token_ids, ids[:4]) and torch.equal(second.views[0].token_ids, ids[4:])
    assert (first.failures, second.failures) == ([Failure("train", "bad.mp4", "cut short")], [])


@pytest.mark.parametrize(
    ("flags", "rule"),
    [
        (
            ("--data.global_batch_size=14", "--efficiency.max_micro_batch=5"),
            "the 14 clips of a rank (global_batch_size 14 on 1) are no 3 equal parts of at most "
            "efficiency.max_micro_batch (5); give --efficiency.max_micro_batch=2 or 7, or a global_batch_size of 12",
        ),
        (("--efficiency.max_micro_batch=0",), "max_micro_batch (0) must be at least 1"),
        (
            ("--efficiency.max_micro_batch=2", "--trainer.accumulate_grad_batches=2"),
            "leave out trainer.accumulate_grad_batches",
        ),
        (("--efficiency.max_micro_batch=2", "--model.predicted_fraction=0.5"), "with a predicted_fraction"),
        (
            (
                "--efficiency.max_micro_batch=2",
                "--model.terms.spread=vjepa.objectives.Regularization",
                "--model.terms.spread.regularizer=vjepa.objectives.SIGReg",
                "--model.terms.prediction=vjepa.objectives.LatentPrediction",
            ),
            "the terms spread compare the clips of a whole batch",
        ),
    ],
)
def test_micro_batches_that_would_not_be_the_whole_batch_are_refused(tiny_recipe, capsys, flags, rule):
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "-c", str(tiny_recipe), *flags])
    assert stopped.value.code == 2
    assert rule in capsys.readouterr().err
