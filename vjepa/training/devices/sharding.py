"""FSDP2: weights, gradients and AdamW's moments in shards over devices (PyTorch FSDP, arXiv 2304.11277; `fully_shard`).

A device holds its shard of all parameters, and whole ones of a block while the block computes. Checkpoints are those of
one device: whole tensors in one file, so that any number of devices goes on from it, with any strategy.
"""

import copy
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import ModelParallelStrategy, StrategyRegistry
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from vjepa.models import VideoEncoder
from vjepa.models.dynamics.causal import ConditionedBlock
from vjepa.models.layers import Block

# The methods of a module in which its networks run; between them each device holds its shards alone.
FORWARD_METHODS = ("step", "predict_step")


class ShardedStrategy(ModelParallelStrategy):
    """`--trainer.strategy=fsdp2`, or `hsdp`: shards within each node, and a copy of all shards on every node.

    Lightning's strategy leaves sharding to the model, writes folders without our checkpoints' guarantees, and reads
    weights before the model sees a checkpoint; here all models are sharded alike, and checkpoints take the usual way.

    Args:
        replicate_nodes: shard within each node and average gradients between nodes: less traffic between them, for
            more memory.
    """

    def __init__(self, replicate_nodes: bool = False, process_group_backend: str | None = None) -> None:
        super().__init__(
            data_parallel_size=1,
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
            process_group_backend=process_group_backend,
        )
        self.replicate_nodes = replicate_nodes

    def setup_environment(self) -> None:
        # Not Lightning's of this class, whose mesh has an axis for tensor parallelism.
        self._setup_distributed()
        shape = (self.num_nodes, self.num_processes) if self.replicate_nodes else (self.world_size,)
        names = ("replicate", "shard")[-len(shape) :]
        self._device_mesh = init_device_mesh(self.root_device.type, shape, mesh_dim_names=names)

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any]:
        return {"num_replicas": self.world_size, "rank": self.global_rank}

    def setup(self, trainer: Trainer) -> None:
        assert self.accelerator is not None and self.lightning_module is not None
        self.accelerator.setup(trainer)
        shard(self.lightning_module, self.device_mesh, self.root_device)
        self.model = self.precision_plugin.convert_module(self.lightning_module)
        self.model.to(self.root_device)
        self.barrier()
        if trainer.state.fn == TrainerFn.FITTING:
            self.setup_optimizers(trainer)
        self.setup_precision_plugin()

    # Checkpoints.

    lightning_restore_optimizer = True

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Whole tensors, on rank 0; all ranks have to ask for them."""
        assert self.lightning_module is not None
        return self._whole(self.lightning_module.state_dict())

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        assert self.lightning_module is not None
        own = self.lightning_module.state_dict()
        shards = {name: _shard_like(own.get(name), value) for name, value in checkpoint["state_dict"].items()}
        self.lightning_module.load_state_dict(shards, strict=strict)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Whole tensors, on rank 0, by the parameter's number as on one device."""
        state = getattr(optimizer, "_optimizer", optimizer).state_dict()
        return {**state, "state": {key: self._whole(values) for key, values in state["state"].items()}}

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [each for group in optimizer.param_groups for each in group["params"]]
            shards = {
                key: {name: _shard_like(parameters[key], value) for name, value in values.items()}
                for key, values in state["state"].items()
            }
            optimizer.load_state_dict({**state, "state": shards})

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        if self.is_global_zero:
            self.checkpoint_io.save_checkpoint(checkpoint, filepath, storage_options=storage_options)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        return self.checkpoint_io.load_checkpoint(checkpoint_path, weights_only=weights_only)

    def _whole(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        kept = {}
        for name, value in tensors.items():
            whole = value.full_tensor() if isinstance(value, DTensor) else value  # one after the other: little memory
            if self.is_global_zero:
                kept[name] = whole.cpu() if isinstance(whole, Tensor) else whole
        return kept


SHARDED = ("fsdp2", "hsdp")  # names of the strategy
for name in SHARDED:
    StrategyRegistry.register(name, ShardedStrategy, description="FSDP2", replicate_nodes=name == "hsdp")


def shard(module: LightningModule, mesh: DeviceMesh, device: torch.device) -> None:
    """Shard the networks of a module by block, and the rest together, with the values that rank 0 has.

    Networks of the other ranks may be on the meta device, without values.
    """
    if isinstance(module, FSDPModule):
        return
    values = {name: tensor.detach() for name, tensor in _tensors(module)}
    shard_parameters(module, mesh)
    module.to_empty(device=device)
    with torch.no_grad():
        for name, tensor in _tensors(module):
            _give(tensor, values.pop(name), device)
    without_value = [name for name, tensor in _all_tensors(module) if tensor.is_meta]
    if without_value:
        raise RuntimeError(f"without a value after the start of all ranks: {', '.join(without_value)}")


def shard_parameters(module: LightningModule, mesh: DeviceMesh) -> None:
    """Shard by block, and the rest together; whole weights are there while a step runs."""
    for part in list(module.modules()):
        if isinstance(part, VideoEncoder):
            object.__setattr__(part, "_unsharded", copy.deepcopy(part).to("meta"))  # not as a part of it
    for part in module.modules():
        if isinstance(part, Block | ConditionedBlock):
            fully_shard(part, mesh=mesh)
    fully_shard(module, mesh=mesh, reshard_after_forward=False)  # what is left is small
    for method in FORWARD_METHODS:
        if hasattr(module, method):
            register_fsdp_forward_method(module, method)
    # It warns of outputs that are views, and no step changes its results in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")


def whole_encoder(encoder: VideoEncoder, keep: bool) -> VideoEncoder | None:
    """The encoder itself, or where it is in shards a copy with whole weights, for ranks that keep it.

    All ranks have to ask for a copy.
    """
    unsharded: VideoEncoder | None = vars(encoder).get("_unsharded")
    if unsharded is None:
        return encoder if keep else None
    whole = copy.deepcopy(unsharded).to_empty(device=next(encoder.parameters()).device) if keep else None
    into = dict(_tensors(whole)) if whole is not None else {}
    with torch.no_grad():
        for name, tensor in _tensors(encoder):
            value = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            if name in into:
                into[name].copy_(value)
    return whole


def _give(tensor: Tensor, value: Tensor, device: torch.device) -> None:
    """Rank 0's whole value to all ranks, each of which keeps its shard."""
    if value.is_meta:
        value = torch.empty_like(value, device=device)
    value = value.to(device).contiguous()
    if value.numel():
        dist.broadcast(value, 0)
    tensor.copy_(_shard_like(tensor, value))


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _all_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters, buffers, and tensors that modules keep otherwise."""
    yield from _tensors(module)
    for name, part in module.named_modules():
        yield from ((f"{name}.{key}", value) for key, value in vars(part).items() if isinstance(value, Tensor))


def _shard_like(reference: Any, value: Any) -> Any:
    """This rank's shard of a whole tensor, where the reference is in shards and has its shape."""
    if not isinstance(reference, DTensor) or not isinstance(value, Tensor) or value.shape != reference.shape:
        return value
    whole = value.to(reference.device)
    return distribute_tensor(whole, reference.device_mesh, reference.placements, src_data_rank=None)
