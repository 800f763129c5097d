"""Memory by formula is what autograd keeps, on a CPU: within a tenth."""

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.testing._internal.distributed.fake_pg import FakeStore

from tests.training.cost.test_flops import LEVELS, two_terms
from vjepa.data.clips.batch import Views
from vjepa.masking import TubeMask
from vjepa.models import Predictor, VideoEncoder
from vjepa.training import JEPA
from vjepa.training.cost.efficiency import Efficiency
from vjepa.training.cost.memory import Numbers, activation_bytes, checkpoint_bytes, sharded_state_bytes, state_bytes
from vjepa.training.cost.step_cost import meta_batch, saved_bytes
from vjepa.training.devices.sharding import shard_parameters

# More than 512 tokens each, where attention is fused on a CPU too.
CLIP, COUNTS = (1, (8, 64, 64)), ((520, 500), (530, 490))
SETTINGS = {
    "V-JEPA 2": ({}, {}, {}),
    "gated, without rotation": ({"mlp": "swiglu", "position": "sincos"}, {"mlp": "swiglu", "position": "sincos"}, {}),
    "V-JEPA 2.1": (LEVELS, {"num_levels": 2, "target_dim": 96, "predict_context": True}, {"terms": two_terms}),
}


def model_of(name: str) -> JEPA:
    encoder, predictor, settings = SETTINGS[name]
    torch.manual_seed(0)
    return JEPA(
        VideoEncoder(**{"embed_dim": 48, "depth": 2, "num_heads": 8, "tubelet": (2, 4, 4)} | encoder),
        Predictor(**{"encoder_dim": 48, "embed_dim": 48, "depth": 2, "num_heads": 8} | predictor),
        **{key: value() for key, value in settings.items()},
    )


def on_cpu(batch):
    masks = [TubeMask(*(torch.arange(ids.shape[1]).expand(ids.shape).clone() for ids in mask)) for mask in batch.masks]
    return batch._replace(clips=torch.zeros(batch.clips.shape, dtype=torch.uint8), masks=masks)


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("checkpointing", [False, "selective", True])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_activations_are_what_autograd_keeps(name, checkpointing, precision):
    model, batch = model_of(name), on_cpu(meta_batch(*CLIP, COUNTS))
    Efficiency(activation_checkpointing=checkpointing).on_fit_start(None, model)

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            return model.step(batch)

    planned = activation_bytes(model, batch, Numbers(2 if precision == "bf16" else 4, on_gpu=False))
    assert planned == pytest.approx(saved_bytes(step, model.parameters()), rel=0.1)


def test_views_are_kept_too():
    model, batch = model_of("V-JEPA 2"), meta_batch(*CLIP, COUNTS)
    views = [Views(None, torch.zeros(6, 10, dtype=torch.int64, device="meta"))]
    more = activation_bytes(model, batch._replace(views=views), Numbers(4, False)) - activation_bytes(
        model, batch, Numbers(4, False)
    )
    by_block = 4 * 48 * 4 + 32 + 4 * 48 + 2 * (48 * 8 + 8) + 2 * 4 * 192
    assert more == 60 * (96 * 4 + 48 * 4 + 8 * 6 + 2 * by_block)


def test_states_by_hand():
    model = model_of("V-JEPA 2")
    encoder = sum(part.numel() for part in model.context_encoder.parameters())
    assert model.predictor is not None
    predictor = sum(part.numel() for part in model.predictor.parameters() if part.requires_grad)
    trained = encoder + predictor
    states = {"weights": 4 * trained, "gradients": 4 * trained, "optimizer": 8 * trained, "target": 4 * encoder}
    assert state_bytes(model) == states
    assert checkpoint_bytes(model) == 16 * encoder + 12 * predictor


def test_states_in_shards_are_what_fsdp2_leaves_on_each_rank():
    """ViT-g of V-JEPA 2 in 8 shards, on the meta device: 21 GB with DDP, 2.6 GB in shards."""
    with torch.device("meta"):
        encoder = VideoEncoder(size="giant")
        predictor = Predictor(encoder_dim=encoder.embed_dim)
        model = JEPA(encoder, predictor)
    whole, sharded = state_bytes(model), sharded_state_bytes(model, 8)
    trained = sum(part.numel() for part in model.parameters() if part.requires_grad)
    target = sum(part.numel() for part in model.target_encoder.parameters())
    assert sum(whole.values()) == 4 * (4 * trained + target)
    blocks = [sum(part.numel() for part in block.parameters()) for block in encoder.blocks]
    others = (
        sum(part.numel() for part in model.parameters())
        - 2 * sum(blocks)
        - sum(part.numel() for part in predictor.blocks.parameters())
    )
    assert sharded.pop("whole blocks of FSDP2") == 2 * 4 * (others + 2 * blocks[0])
    torch.distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=8)
    try:
        shard_parameters(model, init_device_mesh("cpu", (8,), mesh_dim_names=("shard",)))
        on_rank = [(part.to_local().numel(), part.requires_grad) for part in model.parameters()]
    finally:
        torch.distributed.destroy_process_group()
    measured = 4 * sum(number * (4 if is_trained else 1) for number, is_trained in on_rank)
    assert measured == pytest.approx(sum(sharded.values()), rel=0.001)
