"""The harder embedded world: 24 motions, seen by a moving camera, among small objects with other motions.

The two biggest shapes show the motion of the clip, in step or relative to each other; smaller ones move at random. The
camera pans, shakes, zooms and rolls, and the brightness changes, whatever the motion: a motion is relative to the
ground. As in the easier world (world.py), all positions, angles, sizes and gaps are uniform at any time, so no single
frame shows the motion; and in time-reversed pairs (accelerate and brake, spiral out and in, inflate and deflate) no
set of frames without their order does.

A position is a complex number of frame sides, x + iy with y down, so a growing angle turns clockwise on the screen.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vjepa.data.synthetic.render import Bytes, render
from vjepa.data.synthetic.world import Shape, WorldState, draw_ground, draw_shape

Floats = NDArray[np.floating[Any]]
Complexes = NDArray[np.complexfloating[Any, Any]]

SECOND_SIZES = (0.095, 0.12)  # mean radius of the smaller shape of the pair, frame sides
DISTRACTOR_SIZES = (0.045, 0.065)
COLOURS = ("orange",)
GAPS, GAP_SWING = (0.30, 0.36), 0.08  # mean distance between the centres of the pair, and its change, frame sides


@dataclass(frozen=True)
class Pace:
    """The random numbers of one motion. All angles and phases are uniform."""

    frames: Floats  # (T,) 0 is the middle of the clip
    speed: float  # frame sides per frame
    reach: float  # radius of an orbit, half the length of a swing, in frame sides
    spin: float  # radians per frame
    rate: float  # cycles per frame
    phase: float  # cycles
    heading: complex
    sense: float  # 1 is clockwise, -1 counter-clockwise
    toward: complex  # from the bigger shape of the pair to the smaller one
    swell: float  # of the sizes where the motion does not change them, -1 to 1
    gap: float  # of the distance in the pair, as `swell`

    @property
    def distance(self) -> Floats:
        return self.speed * self.frames

    @property
    def cycle(self) -> Floats:
        return self.phase + self.rate * self.frames


class Course(NamedTuple):
    """What a motion changes over the frames of a clip."""

    shift: Complexes | Floats | float = 0.0  # of the middle of the pair, frame sides
    turn: Floats | float = 0.0  # of each shape about its own centre, radians
    circling: Floats | float = 0.0  # of the pair about its middle, radians
    swell: Floats | None = None  # of each shape, -1 to 1; None is at rest
    gap: Floats | None = None  # of the pair, -1 to 1; None is at rest


def circle(cycle: Floats) -> Complexes:
    return np.exp(2j * np.pi * cycle)


def wave(cycle: Floats, rise: float = 0.5) -> Floats:
    """From -1 straight to 1 in the fraction `rise` of a cycle, and straight back. Uniform at a random phase."""
    phase = cycle % 1.0
    return np.where(phase < rise, 2.0 * phase / rise - 1.0, 1.0 - 2.0 * (phase - rise) / (1.0 - rise))


def growth(frames: Floats) -> Floats:
    """Doubles every 12 frames; 1 in the middle of the clip."""
    return np.exp2(frames / 12.0)


MOTIONS: dict[str, Callable[[Pace], Course]] = {
    "move_right": lambda pace: Course(pace.distance),
    "move_left": lambda pace: Course(-pace.distance),
    "move_up": lambda pace: Course(-1j * pace.distance),
    "move_down": lambda pace: Course(1j * pace.distance),
    "rotate_clockwise": lambda pace: Course(turn=pace.spin * pace.frames),
    "rotate_counterclockwise": lambda pace: Course(turn=-pace.spin * pace.frames),
    "orbit_clockwise": lambda pace: Course(pace.reach * circle(pace.cycle)),
    "orbit_counterclockwise": lambda pace: Course(pace.reach * circle(-pace.cycle)),
    "bounce_horizontally": lambda pace: Course(pace.reach * wave(pace.cycle)),
    "bounce_vertically": lambda pace: Course(1j * pace.reach * wave(pace.cycle)),
    "pulsate": lambda pace: Course(swell=wave(pace.cycle)),
    "zigzag": lambda pace: Course(pace.heading * (pace.distance + 1j * pace.reach * wave(pace.cycle))),
    # One is the other played backwards.
    "accelerate": lambda pace: Course(pace.heading * 15.0 * pace.speed * growth(pace.frames)),
    "brake": lambda pace: Course(-pace.heading * 15.0 * pace.speed * growth(-pace.frames)),
    "spiral_out": lambda pace: Course(pace.reach * growth(pace.frames) * circle(pace.sense * pace.cycle)),
    "spiral_in": lambda pace: Course(pace.reach * growth(-pace.frames) * circle(pace.sense * pace.cycle)),
    "inflate": lambda pace: Course(swell=wave(pace.cycle, rise=0.8)),
    "deflate": lambda pace: Course(swell=wave(pace.cycle, rise=0.2)),
    # Two shapes, or two directions of turning.
    "figure_of_eight": lambda pace: Course(
        1.4 * pace.reach * pace.heading * (circle(pace.cycle).real + 0.6j * circle(2.0 * pace.cycle).imag)
    ),
    "circle_clockwise": lambda pace: Course(circling=2.0 * np.pi * pace.cycle),
    "circle_counterclockwise": lambda pace: Course(circling=-2.0 * np.pi * pace.cycle),
    "collide": lambda pace: Course(gap=wave(pace.cycle)),
    "chase": lambda pace: Course(pace.toward * pace.distance, gap=wave(pace.cycle)),  # the bigger the smaller one
    "flee": lambda pace: Course(-pace.toward * pace.distance, gap=wave(pace.cycle)),
}
FOR_DISTRACTORS = tuple(MOTIONS)[:12]  # those of one shape


class Camera(NamedTuple):
    """Where the camera looks and how bright the picture is, frame by frame."""

    position: Complexes  # (T,) frame sides
    zoom: Floats  # (T,) 1 shows the whole world once
    roll: Floats  # (T,) radians
    gain: Floats  # (T,) of the brightness


class HardClip(NamedTuple):
    states: list[WorldState]
    camera: Camera


def draw_clip(rng: np.random.Generator, motion: str, size: int, num_frames: int) -> HardClip:
    """A clip of one of MOTIONS: the pair of shapes that shows it, the bigger one first, and distractors."""
    frames = np.arange(num_frames) - (num_frames - 1) / 2
    bigger, smaller = draw_shape(rng, COLOURS, is_main=True), _draw_small_shape(rng, SECOND_SIZES)
    distractors = [_draw_small_shape(rng, DISTRACTOR_SIZES) for _ in range(rng.integers(2, 4))]
    ground = replace(draw_ground(rng), position=(0.0, 0.0), angle=0.0, pulse_depth=0.0, period=1)
    ground = replace(ground, cycles=rng.uniform(3.5, 8.0))
    camera = draw_camera(rng, frames)

    pace = draw_pace(rng, frames)
    course = MOTIONS[motion](pace)
    gap = rng.uniform(*GAPS) + GAP_SWING * (pace.gap if course.gap is None else course.gap)
    apart = 0.5 * gap * pace.toward * np.exp(1j * np.asarray(course.circling))
    smaller = replace(smaller, position=bigger.position)  # both begin from the middle of the pair
    tracks = [shape_over_time(bigger, pace, course, -apart), shape_over_time(smaller, pace, course, apart)]
    others = [name for name in FOR_DISTRACTORS if name != motion]
    for distractor in distractors:
        pace = draw_pace(rng, frames)
        tracks.append(shape_over_time(distractor, pace, MOTIONS[others[rng.integers(len(others))]](pace)))
    return HardClip([WorldState(size, motion, shapes, ground) for shapes in zip(*tracks, strict=True)], camera)


def render_hard(clip: HardClip) -> tuple[Bytes, Bytes]:  # frames (T, H, W, 3) RGB 0-255, object masks (T, H, W)
    """As `render`, seen by the camera. The world is a torus and is drawn whole, so its borders do not show."""
    size = clip.states[0].size
    middle = np.full(2, (size - 1) / 2)
    frames, masks = render(clip.states)
    for number, (at, zoom, roll, gain) in enumerate(zip(*clip.camera, strict=True)):
        # From a pixel's position in the picture, relative to the centre, to its position in the world.
        turn = np.array([[math.cos(roll), -math.sin(roll)], [math.sin(roll), math.cos(roll)]]) / zoom
        matrix = np.column_stack([turn, middle - turn @ middle + size * np.array([at.real, at.imag])])
        frames[number] = np.clip(gain * _seen(frames[number], matrix, cv2.INTER_CUBIC) + 0.5, 0, 255)
        masks[number] = _seen(masks[number], matrix, cv2.INTER_NEAREST)
    return frames, masks


def _seen(picture: np.ndarray, matrix: np.ndarray, interpolation: int) -> np.ndarray:
    flags, size = interpolation | cv2.WARP_INVERSE_MAP, picture.shape[:2]
    return cv2.warpAffine(picture, matrix, size, flags=flags, borderMode=cv2.BORDER_WRAP)


def shape_over_time(shape: Shape, pace: Pace, course: Course, apart: Complexes | float = 0.0) -> list[Shape]:
    """The shape in each frame, `apart` from where the course leads."""
    positions = complex(*shape.position) + course.shift + apart + np.zeros(len(pace.frames))
    angles = shape.angle + course.turn + np.zeros(len(pace.frames))
    swells = np.full(len(pace.frames), pace.swell) if course.swell is None else course.swell
    sizes = shape.base_size * (1.0 + shape.pulse_depth * swells)
    return [
        replace(shape, position=(at.real % 1.0, at.imag % 1.0), angle=angle, base_size=mean_radius, pulse_depth=0.0)
        for at, angle, mean_radius in zip(positions.tolist(), angles.tolist(), sizes.tolist(), strict=True)
    ]


def draw_pace(rng: np.random.Generator, frames: Floats) -> Pace:
    """A pace that is visible within 16 frames of 64 pixels, as in the easier world."""
    return Pace(
        frames=frames,
        speed=rng.uniform(0.75, 2.0) / 64,
        reach=rng.uniform(0.10, 0.15),
        spin=math.radians(rng.uniform(6.0, 13.0)),
        rate=1.0 / rng.uniform(14.0, 20.0),
        phase=rng.random(),
        heading=_draw_direction(rng),
        sense=rng.choice([-1.0, 1.0]),
        toward=_draw_direction(rng),
        swell=rng.uniform(-1.0, 1.0),
        gap=rng.uniform(-1.0, 1.0),
    )


def draw_camera(rng: np.random.Generator, frames: Floats) -> Camera:
    """A camera that pans steadily, shakes, zooms and rolls to and fro, under a light that changes."""

    def sway(amplitude: float, shortest: float, longest: float) -> Floats:
        return amplitude * np.sin(2.0 * np.pi * (rng.random() + frames / rng.uniform(shortest, longest)))

    pan = _draw_direction(rng) * rng.uniform(0.0, 1.5) / 64
    shake = rng.uniform(0.5, 2.0) / 64
    return Camera(
        position=pan * frames + sway(shake, 5.0, 12.0) + 1j * sway(shake, 5.0, 12.0),
        zoom=1.0 + sway(rng.uniform(0.0, 0.15), 20.0, 40.0),
        roll=sway(rng.uniform(0.0, math.radians(10.0)), 20.0, 40.0),
        gain=rng.uniform(0.8, 1.1) * (1.0 + sway(rng.uniform(0.0, 0.15), 6.0, 30.0)),
    )


def _draw_small_shape(rng: np.random.Generator, sizes: tuple[float, float]) -> Shape:
    return replace(draw_shape(rng, COLOURS, is_main=False), base_size=rng.uniform(*sizes))


def _draw_direction(rng: np.random.Generator) -> complex:
    return complex(np.exp(2j * np.pi * rng.random()))
