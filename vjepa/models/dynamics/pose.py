"""Poses of a robot's hand and the actions between them, as in V-JEPA 2-AC (arXiv 2506.09985, section 3.2).

A pose is x, y, z in metres, three Euler angles in radians about the fixed x, y and z axes, and a gripper from 0 to 1.
An action is the difference of two poses: displacement, Euler angles of the rotation between them, gripper change.
"""

import torch
from jaxtyping import Float
from torch import Tensor

POSE_DIM = 7


def moved_pose(poses: Float[Tensor, "... 7"], actions: Float[Tensor, "... 7"]) -> Float[Tensor, "... 7"]:
    """The poses after these actions, with grippers clamped to 0 to 1; the inverse of `pose_differences`."""
    positions = poses[..., :3] + actions[..., :3]
    turn, rotation = rotation_matrices(actions[..., 3:6]), rotation_matrices(poses[..., 3:6])
    # turn @ rotation; mixed precision would round a matrix product to three digits.
    angles = euler_angles((turn.unsqueeze(-1) * rotation.unsqueeze(-3)).sum(-2))
    grippers = (poses[..., 6:] + actions[..., 6:]).clamp(0, 1)
    return torch.cat((positions, angles, grippers), dim=-1)


def pose_differences(poses: Float[Tensor, "T 7"]) -> Float[Tensor, "T-1 7"]:
    """The actions that lead from each pose to the next."""
    rotations = rotation_matrices(poses[:, 3:6])
    angles = euler_angles(rotations[1:] @ rotations[:-1].mT)
    changes = poses.diff(dim=0)
    return torch.cat((changes[:, :3], angles, changes[:, 6:]), dim=1)


def rotation_matrices(angles: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3 3"]:
    """R_z R_y R_x, for Euler angles about the fixed x, y and z axes, in this order."""
    (cx, cy, cz), (sx, sy, sz) = angles.cos().unbind(-1), angles.sin().unbind(-1)
    rows = (
        torch.stack((cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx), dim=-1),
        torch.stack((sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx), dim=-1),
        torch.stack((-sy, cy * sx, cy * cx), dim=-1),
    )
    return torch.stack(rows, dim=-2)


def euler_angles(rotations: Float[Tensor, "... 3 3"]) -> Float[Tensor, "... 3"]:
    """The inverse of `rotation_matrices`."""
    # Not by the arcsine, which rounds badly near a quarter turn and has no gradient there.
    cosine = rotations[..., :2, 0].square().sum(-1).clamp(min=1e-12).sqrt()
    x = torch.atan2(rotations[..., 2, 1], rotations[..., 2, 2])
    y = torch.atan2(-rotations[..., 2, 0], cosine)
    z = torch.atan2(rotations[..., 1, 0], rotations[..., 0, 0])
    return torch.stack((x, y, z), dim=-1)
