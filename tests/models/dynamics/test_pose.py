"""Where a robot's hand is after an action."""

import numpy as np
import pytest
import torch

from vjepa.models.dynamics.pose import euler_angles, moved_pose, pose_differences, rotation_matrices


def some_poses(count: int = 40, seed: int = 0) -> torch.Tensor:  # (count, 7)
    generator = torch.Generator().manual_seed(seed)
    poses = torch.rand(count, 7, generator=generator, dtype=torch.float64)
    poses[:, 3:6] = 2.9 * (2 * poses[:, 3:6] - 1)
    poses[:, 4] /= 2  # of two sets of angles that turn alike, the one with the second below a quarter turn
    return poses


def about(axis: int, angle: float) -> np.ndarray:  # (3, 3)
    """A turn about one axis, by the textbook: the two other axes turn into each other."""
    matrix, (one, other) = np.eye(3), [(1, 2), (2, 0), (0, 1)][axis]
    matrix[one, one] = matrix[other, other] = np.cos(angle)
    matrix[other, one], matrix[one, other] = np.sin(angle), -np.sin(angle)
    return matrix


def by_hand(angles: np.ndarray) -> np.ndarray:  # (3,) to (3, 3)
    return about(2, angles[2]) @ about(1, angles[1]) @ about(0, angles[0])


def test_the_turn_of_an_action_follows_the_pose():
    poses, actions = some_poses(seed=0), some_poses(seed=1) - 0.5
    moved = moved_pose(poses, actions)
    for pose, action, after in zip(poses.numpy(), actions.numpy(), moved.numpy(), strict=True):
        np.testing.assert_allclose(by_hand(after[3:6]), by_hand(action[3:6]) @ by_hand(pose[3:6]), atol=1e-9)
    torch.testing.assert_close(moved[:, :3], poses[:, :3] + actions[:, :3])


def test_turns_are_those_of_scipy():
    rotation = pytest.importorskip("scipy.spatial.transform").Rotation
    poses, actions = some_poses(seed=2), some_poses(seed=3)
    turned = rotation.from_euler("xyz", actions[:, 3:6]) * rotation.from_euler("xyz", poses[:, 3:6])
    np.testing.assert_allclose(moved_pose(poses, actions)[:, 3:6], turned.as_euler("xyz"), atol=1e-9)


def test_differences_lead_from_pose_to_pose():
    states = some_poses()
    moved = moved_pose(states[:-1], pose_differences(states))
    torch.testing.assert_close(moved, states[1:], atol=1e-9, rtol=0)


def test_a_turn_past_half_a_circle_is_a_small_action():
    states = torch.zeros(2, 7)
    states[:, 3] = torch.tensor([3.1, -3.1])
    assert pose_differences(states)[0, 3].item() == pytest.approx(2 * np.pi - 6.2, abs=1e-6)


def test_rotations_are_about_fixed_axes_x_then_y_then_z():
    quarter = np.pi / 2
    x, y, z = rotation_matrices(quarter * torch.eye(3, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(x @ [0, 1, 0], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(y @ [0, 0, 1], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(z @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    angles = 3 * torch.rand(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1.5
    parts = [rotation_matrices(angles * torch.eye(3)[k]) for k in range(3)]
    np.testing.assert_allclose(rotation_matrices(angles), parts[2] @ parts[1] @ parts[0], atol=1e-12)
    np.testing.assert_allclose(euler_angles(rotation_matrices(angles)), angles, atol=1e-9)


def test_a_gripper_opens_and_closes_no_farther_than_it_can():
    poses = torch.tensor([[0.0] * 6 + [0.9], [0.0] * 6 + [0.9], [0.0] * 6 + [0.1]])
    actions = torch.tensor([[0.0] * 6 + [0.05], [0.0] * 6 + [0.5], [0.0] * 6 + [-0.5]])
    torch.testing.assert_close(moved_pose(poses, actions)[:, 6], torch.tensor([0.95, 1.0, 0.0]))


def test_an_action_of_nothing_leaves_a_pose_as_it_is():
    poses = some_poses().float()
    torch.testing.assert_close(moved_pose(poses, torch.zeros_like(poses)), poses, atol=1e-5, rtol=0)


def test_gradients_are_finite_at_a_quarter_turn_up():
    angles = torch.tensor([[0.3, torch.pi / 2, -0.2]], requires_grad=True)
    euler_angles(rotation_matrices(angles)).sum().backward()
    assert angles.grad is not None
    assert angles.grad.isfinite().all()


def test_mixed_precision_rounds_nothing():
    poses, actions = some_poses().float(), some_poses(seed=1).float()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = moved_pose(poses, actions)
    torch.testing.assert_close(mixed, moved_pose(poses, actions), rtol=0, atol=0)
