"""Which parameters decay: weight matrices and mask tokens do, biases and one-dimensional scales do not."""

from torch import nn


def parameter_groups(*modules: nn.Module) -> list[dict[str, object]]:
    """Two optimizer groups over the trainable parameters of `modules`, the first with `decays` set.

    The released rule (V-JEPA 1, 2, 2.1): no decay where the name has "bias" in it or the tensor has one dimension.
    """
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for module in modules:
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                groups[parameter.ndim > 1 and "bias" not in name].append(parameter)
    return [{"params": parameters, "decays": decays, "weight_decay": 0.0} for decays, parameters in groups.items()]
