"""The pose of a robot's hand after an action, as V-JEPA 2-AC's planner foresees it (arXiv 2506.09985, section 3.2)."""

import torch
from jaxtyping import Float
from torch import Tensor

POSE_DIM = 7  # x, y, z, three Euler angles, gripper


def moved_pose(
    poses: Float[
        Tensor, "... 7"
    ],  # x, y, z in metres, Euler angles in radians about the fixed x, y, z axes, gripper 0 to 1
    actions: Float[Tensor, "... 7"],  # the way, Euler angles of the rotation, change of the gripper
) -> Float[Tensor, "... 7"]:
    """Places and grippers are added, the gripper kept from 0 to 1; the action's rotation follows the pose's.

    The inverse of the differences that DROID's reader makes actions of.
    """
    places = poses[..., :3] + actions[..., :3]
    turn, rotation = rotations_of(actions[..., 3:6]), rotations_of(poses[..., 3:6])
    # turn @ rotation; mixed precision would round a matrix product to three digits.
    angles = angles_of((turn.unsqueeze(-1) * rotation.unsqueeze(-3)).sum(-2))
    grippers = (poses[..., 6:] + actions[..., 6:]).clamp(0, 1)
    return torch.cat((places, angles, grippers), dim=-1)


def rotations_of(
    angles: Float[Tensor, "... 3"],  # radians about the fixed x, y and z axes, in this order
) -> Float[Tensor, "... 3 3"]:
    """R_z R_y R_x."""
    (cx, cy, cz), (sx, sy, sz) = angles.cos().unbind(-1), angles.sin().unbind(-1)
    rows = (
        torch.stack((cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx), dim=-1),
        torch.stack((sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx), dim=-1),
        torch.stack((-sy, cy * sx, cy * cx), dim=-1),
    )
    return torch.stack(rows, dim=-2)


def angles_of(rotations: Float[Tensor, "... 3 3"]) -> Float[Tensor, "... 3"]:  # radians, the inverse of `rotations_of`
    # Not by the arcsine, which rounds badly near a quarter turn and has no gradient there.
    cosine = rotations[..., :2, 0].square().sum(-1).clamp(min=1e-12).sqrt()
    x = torch.atan2(rotations[..., 2, 1], rotations[..., 2, 2])
    y = torch.atan2(-rotations[..., 2, 0], cosine)
    z = torch.atan2(rotations[..., 1, 0], rotations[..., 0, 0])
    return torch.stack((x, y, z), dim=-1)
