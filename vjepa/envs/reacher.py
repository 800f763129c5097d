"""Reacher: an arm of two links, moved by torques (model of dm_control); a goal is a pose of the whole arm.

An extra: `pip install "video-jepa[reacher]"`. Rendering without a screen needs EGL (Debian and Ubuntu: `apt install
libegl1`). Shadows, reflections, the sky and multisampling are off: 1800 instead of 60 frames/s.
"""

import atexit
import importlib.util
import os
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from vjepa.envs.single_world import SingleWorlds
from vjepa.planning.limits import ActionLimit

LINK = 12.0  # centimetres, of either link
WRIST_RANGE = np.radians(160)
RADII = (6.0, 2.5)
NOT_DRAWN = ("mjRND_SHADOW", "mjRND_REFLECTION", "mjRND_SKYBOX")


def reacher(frame_size: int = 64, goal_steps: int = 50) -> SingleWorlds:
    """The suite.

    * State: angles of shoulder and wrist in radians, and their velocities. A single frame does not show velocities: a
      model needs 2 frames or more.
    * Action: torques at shoulder and wrist, from -1 to 1. A step is 0.02 s.
    * Distance: of elbow or fingertip from its goal, the larger of the two, in centimetres. The radii are those of the
      fingertip in dm_control's easy and hard tasks.

    Args:
        frame_size: height and width of frames.
        goal_steps: of random torques, from a task's start to its goal.
    """
    simulator = _Simulator(frame_size)
    return SingleWorlds(
        make_env=lambda: ReacherEnvironment(simulator),
        action_limit=ActionLimit(1.0, "box"),
        radii=RADII,
        name="reacher",
        action_dim=2,
        unit="cm",
        distance=arm_distance,
        goal_steps=goal_steps,
    )


def arm_distance(
    states: Float[np.ndarray, "*batch 4"], goals: Float[np.ndarray, "*batch 4"]
) -> Float[np.ndarray, "*batch"]:
    """The larger of elbow's and fingertip's distance, in centimetres."""
    distances = np.linalg.norm(_joints(states) - _joints(goals), axis=-1)
    return np.asarray(distances.max(-1))


def _joints(states: Float[np.ndarray, "*batch 4"]) -> Float[np.ndarray, "*batch 2 2"]:
    """x and y of elbow and fingertip."""
    shoulder, wrist = states[..., 0], states[..., 1]
    links = [LINK * np.stack((np.cos(angle), np.sin(angle)), axis=-1) for angle in (shoulder, shoulder + wrist)]
    return np.stack((links[0], links[0] + links[1]), axis=-2)


class ReacherEnvironment:
    """One arm. Arms share a simulator, which is set to an arm's state before it simulates or renders it."""

    def __init__(self, simulator: "_Simulator"):
        self._simulator = simulator
        self._state = np.zeros(4)

    def reset(self, *, seed: int) -> None:
        angles = np.random.default_rng(seed).uniform((-np.pi, -WRIST_RANGE), (np.pi, WRIST_RANGE))
        self._state = np.concatenate((angles, np.zeros(2)))

    def step(self, action: np.ndarray) -> None:
        self._state = self._simulator.after(self._state, action)

    def render(self) -> UInt8[np.ndarray, "H W 3"]:
        return self._simulator.frame(self._state)

    def get_state(self) -> Float[np.ndarray, "4"]:
        return self._state.copy()

    def set_state(self, state: np.ndarray) -> None:
        self._state = np.array(state, float)


class _Simulator:
    """MuJoCo with dm_control's model; it keeps nothing from one arm to the next."""

    def __init__(self, frame_size: int):
        self._mujoco, model_file = _mujoco_and_model()
        self._model = self._mujoco.MjModel.from_xml_path(str(model_file))
        self._data = self._mujoco.MjData(self._model)
        self._model.vis.quality.offsamples = 0
        self._model.geom("target").rgba[3] = 0  # of dm_control's own task
        self._renderer = _renderer(self._mujoco, self._model, frame_size)

    def _bring_to(self, state: np.ndarray) -> None:
        self._mujoco.mj_resetData(self._model, self._data)
        self._data.qpos[:], self._data.qvel[:] = state[:2], state[2:]

    def after(self, state: Float[np.ndarray, "4"], action: Float[np.ndarray, "2"]) -> Float[np.ndarray, "4"]:
        self._bring_to(state)
        self._data.ctrl[:] = action
        self._mujoco.mj_step(self._model, self._data)
        return np.concatenate((self._data.qpos, self._data.qvel))

    def frame(self, state: Float[np.ndarray, "4"]) -> UInt8[np.ndarray, "H W 3"]:
        self._bring_to(state)
        self._mujoco.mj_forward(self._model, self._data)
        self._renderer.update_scene(self._data, camera="fixed")
        for flag in NOT_DRAWN:
            self._renderer.scene.flags[getattr(self._mujoco.mjtRndFlag, flag)] = False
        return self._renderer.render()


def _mujoco_and_model() -> tuple[Any, Path]:
    """Only the model file of dm_control is read: importing the package would open the display a second time."""
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", "egl")
    package = importlib.util.find_spec("dm_control")
    if package is None or package.origin is None or importlib.util.find_spec("mujoco") is None:
        raise ValueError("Reacher needs dm_control and MuJoCo; install them with `pip install 'video-jepa[reacher]'`")
    try:
        import mujoco
    except (ImportError, AttributeError) as error:  # of PyOpenGL, where a library is missing
        raise _cannot_draw(error) from error
    return mujoco, Path(package.origin).parent / "suite" / "reacher.xml"


def _renderer(mujoco: Any, model: Any, frame_size: int) -> Any:
    try:
        renderer = mujoco.Renderer(model, frame_size, frame_size)
    except (ImportError, AttributeError, RuntimeError, mujoco.FatalError) as error:
        raise _cannot_draw(error) from error
    atexit.register(_close, weakref.ref(renderer))  # at exit, OpenGL ends before renderers are deleted
    return renderer


def _close(renderer: weakref.ref[Any]) -> None:
    alive = renderer()
    if alive is not None:
        alive.close()


def _cannot_draw(error: Exception) -> ValueError:
    return ValueError(
        f"MuJoCo can't draw here ({type(error).__name__}: {error}); install your system's EGL library (Debian, Ubuntu: "
        f"libegl1), or choose another way to draw by the environment variable MUJOCO_GL (egl, glfw or osmesa)"
    )
