"""An environment as somebody might have one: a dot in a square of 20 x 20 pixels that drifts a little by chance."""

import numpy as np


class Dot:
    """Reset, step, render: what it is in, nobody is told."""

    def reset(self, *, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._place = self._random.uniform(6, 14, 2)

    def step(self, action: np.ndarray) -> str:
        self._place = np.clip(self._place + action + self._random.normal(0, 0.01, 2), 2, 18)
        return "whatever"

    def render(self) -> np.ndarray:
        y, x = np.mgrid[:20, :20] + 0.5
        dot = np.exp(-((x - self._place[0]) ** 2 + (y - self._place[1]) ** 2) / 4)
        return np.round(250 * dot[..., None] * np.array([1.0, 0.5, 0.2])).astype(np.uint8)


class TellingDot(Dot):
    def get_state(self) -> np.ndarray:
        return self._place


class SettableDot(TellingDot):
    def set_state(self, state: np.ndarray) -> None:
        self._place = state.copy()
