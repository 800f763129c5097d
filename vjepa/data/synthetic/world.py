"""A small procedural world in which ground and shapes move in one named way: its state, and one step of it.

The shapes live on a torus, the ground is an endless pattern. Where each starts, at what angle and in what phase is
drawn uniformly, independently of its motion. So the distribution of single frames, at any time, is the same for all
motion classes: only several frames show the class. All parts of a clip move in one way, each at its own speed and
phase, and all clips have one palette: two distant parts of a clip have little in common but their motion.

Lengths are in frame sides (1.0 is the whole frame), x to the right, y down, angles in radians clockwise on the screen,
time in frames. A state is a plain frozen value: change it in mid-clip with `dataclasses.replace` and go on stepping.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

MOTIONS = (
    "move_right",
    "move_left",
    "move_up",
    "move_down",
    "rotate_clockwise",
    "rotate_counterclockwise",
    "orbit_clockwise",
    "orbit_counterclockwise",
    "bounce_horizontally",
    "bounce_vertically",
    "pulsate",
    "zigzag",
)
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "hexagon", "crescent")
TEXTURES = ("stripes", "checker", "dots", "halves", "quarters", "gradient", "chevrons")
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")

GROUND_COLOUR = (0.42, 0.48, 0.50)
GROUND_CONTRASTS = ((0.17, 0.17, 0.16), (-0.05, 0.0, 0.06), (0.045, -0.035, 0.01))  # light, blue, rust
HUES = dict(zip(COLOURS, (0.0, 0.075, 0.15, 0.33, 0.49, 0.61, 0.76, 0.9), strict=True))  # fraction of the colour wheel

Vector = tuple[float, float]  # (x, y), frame sides
Colour = tuple[float, float, float]  # (red, green, blue), 0 to 1


@dataclass(frozen=True)
class Motion:
    """Change per frame. All zero is a shape at rest; the named motions set one or two of these."""

    velocity: Vector = (0.0, 0.0)  # frame sides per frame
    spin: float = 0.0  # radians per frame, positive is clockwise
    orbit_radius: float = 0.0  # frame sides
    swing: Vector = (0.0, 0.0)  # to and fro from -swing to +swing, frame sides
    cycle_rate: float = 0.0  # cycles of orbit and swing per frame; a negative one orbits counter-clockwise
    pulse_rate: float = 0.0  # cycles of growing and shrinking per frame


@dataclass(frozen=True)
class Shape:
    """Appearance, position and motion of one object."""

    kind: str  # one of SHAPES
    texture: str  # one of TEXTURES
    colour: str  # one of COLOURS; painted in the two tones below
    tones: tuple[Colour, Colour]  # the colour itself, and the darker or paler second tone of the texture
    texture_phase: float  # shifts the texture across the shape, 0 to 1
    position: Vector  # of the centre, frame sides, each in [0, 1)
    angle: float  # radians in [0, 2 pi), positive is clockwise
    base_size: float  # mean radius, frame sides
    pulse_depth: float  # amplitude of the size, relative to base_size
    pulse_phase: float  # cycles, 0 to 1; stands still in every motion but `pulsate`
    cycle_phase: float  # cycles, 0 to 1; where the shape is on its orbit or swing
    motion: Motion
    visible: bool = True

    @property
    def size(self) -> float:
        """The radius now, in frame sides."""
        return self.base_size * (1.0 + self.pulse_depth * math.sin(2.0 * math.pi * self.pulse_phase))


@dataclass(frozen=True)
class Ground:
    """An endless grain of three independent noises under the shapes; it turns and grows about the middle of the frame.

    The noises mix three contrasts into one colour. They are as fine as a few pixels, and distant parts have nothing in
    common but their motion.
    """

    grain: int  # seed of the noises
    colour: Colour
    contrasts: tuple[Colour, Colour, Colour]  # what each noise adds at one standard deviation
    position: Vector  # of the grain's own origin, frame sides
    angle: float
    pulse_depth: float
    pulse_phase: float
    cycle_phase: float
    motion: Motion
    cycles: float = 6.5  # of the grain, along a frame side
    period: int = 2  # frame sides after which the grain repeats

    @property
    def scale(self) -> float:
        """Coarseness of the grain now, relative to its mean over a pulse."""
        return 1.0 + self.pulse_depth * math.sin(2.0 * math.pi * self.pulse_phase)


@dataclass(frozen=True)
class Occluder:
    """A static bar across the whole frame, in front of all shapes."""

    vertical: bool
    centre: float  # along x for a vertical bar, along y for a horizontal one, frame sides
    width: float  # frame sides
    colour: Colour


@dataclass(frozen=True)
class WorldState:
    """All that determines a frame and the next one."""

    size: int  # side of the frame in pixels
    motion: str  # the motion class of the ground and of every shape, one of MOTIONS
    shapes: tuple[Shape, ...]  # the first is object 1: the biggest and the front-most
    ground: Ground
    occluders: tuple[Occluder, ...] = ()


Part = TypeVar("Part", Shape, Ground)


def sample_world(
    rng: np.random.Generator,
    motion: str | None = None,  # one of MOTIONS; drawn when not given
    size: int = 64,  # pixels
    max_objects: int = 3,
    ground_moves: bool = True,
    occluder_probability: float = 0.0,
    colours: tuple[str, ...] = ("orange",),
) -> WorldState:
    """Draw the first state of a clip. `colours` is what a shape's colour is drawn from."""
    if motion is not None and motion not in MOTIONS:
        raise ValueError(f"motion ({motion!r}) must be one of the motion classes; try one of {', '.join(MOTIONS)}")
    num_objects = int(rng.integers(1, max_objects + 1))
    # How things look is drawn before the motion, so one seed gives one first frame for all motion classes.
    shapes = tuple(draw_shape(rng, colours, is_main=number == 0) for number in range(num_objects))
    ground = draw_ground(rng)
    occluders = draw_occluders(rng) if rng.random() < occluder_probability else ()
    motion = motion or MOTIONS[rng.integers(len(MOTIONS))]
    shapes = tuple(replace(shape, motion=draw_motion(rng, motion)) for shape in shapes)
    if ground_moves:
        motion_of_ground = draw_motion(rng, motion)
        # The corners of the frame are far from the middle, about which the ground turns.
        ground = replace(ground, motion=replace(motion_of_ground, spin=0.65 * motion_of_ground.spin))
    return WorldState(size=size, motion=motion, shapes=shapes, ground=ground, occluders=occluders)


def step(state: WorldState) -> WorldState:
    """The same world one frame later."""
    shapes = tuple(moved(shape, wrap) for shape in state.shapes)
    return replace(state, shapes=shapes, ground=moved(state.ground, add))


def roll_out(state: WorldState, num_frames: int) -> list[WorldState]:
    """The state itself and its successors, `num_frames` states in all."""
    states = [state]
    while len(states) < num_frames:
        states.append(step(states[-1]))
    return states


def moved(part: Part, translate: Callable[[Vector, Vector], Vector]) -> Part:
    """A shape or the ground one frame later. Orbit and swing are added as differences to `position`."""
    motion = part.motion
    next_phase = part.cycle_phase + motion.cycle_rate
    x, y = motion.velocity
    if motion.orbit_radius:
        before, after = 2.0 * math.pi * part.cycle_phase, 2.0 * math.pi * next_phase
        x += motion.orbit_radius * (math.cos(after) - math.cos(before))
        y += motion.orbit_radius * (math.sin(after) - math.sin(before))
    swung = triangle_wave(next_phase) - triangle_wave(part.cycle_phase)
    return replace(
        part,
        position=translate(part.position, (x + swung * motion.swing[0], y + swung * motion.swing[1])),
        angle=(part.angle + motion.spin) % (2.0 * math.pi),
        pulse_phase=(part.pulse_phase + motion.pulse_rate) % 1.0,
        cycle_phase=next_phase % 1.0,
    )


def triangle_wave(phase: float) -> float:
    """From -1 (phase 0) straight to +1 (phase 0.5) and straight back (phase 1)."""
    return 1.0 - 4.0 * abs(phase % 1.0 - 0.5)


def wrap(position: Vector, displacement: Vector) -> Vector:
    """`position + displacement` on the torus of side 1."""
    return (position[0] + displacement[0]) % 1.0, (position[1] + displacement[1]) % 1.0


def add(position: Vector, displacement: Vector) -> Vector:
    """`position + displacement` on the endless plane."""
    return position[0] + displacement[0], position[1] + displacement[1]


# ---- the named motions ----


def draw_motion(rng: np.random.Generator, name: str) -> Motion:
    """A motion of this class, at a random speed that is visible within 16 frames of 64 pixels."""
    speed = rng.uniform(0.75, 2.0) / 64  # frame sides per frame
    spin = math.radians(rng.uniform(6.0, 13.0))  # 90 degrees in 15 to 7 frames
    reach = rng.uniform(0.10, 0.15)  # radius of an orbit, half the length of a swing, in frame sides
    rate = 1.0 / rng.uniform(14.0, 20.0)  # cycles per frame
    heading = int(rng.integers(4))
    # A zigzag moves in one of four directions and swings across it.
    along = ((speed, 0.0), (-speed, 0.0), (0.0, speed), (0.0, -speed))[heading]
    across = (0.0, reach) if along[1] == 0.0 else (reach, 0.0)
    return {
        "move_right": Motion(velocity=(speed, 0.0)),
        "move_left": Motion(velocity=(-speed, 0.0)),
        "move_up": Motion(velocity=(0.0, -speed)),
        "move_down": Motion(velocity=(0.0, speed)),
        "rotate_clockwise": Motion(spin=spin),
        "rotate_counterclockwise": Motion(spin=-spin),
        "orbit_clockwise": Motion(orbit_radius=reach, cycle_rate=rate),
        "orbit_counterclockwise": Motion(orbit_radius=reach, cycle_rate=-rate),
        "bounce_horizontally": Motion(swing=(reach, 0.0), cycle_rate=rate),
        "bounce_vertically": Motion(swing=(0.0, reach), cycle_rate=rate),
        "pulsate": Motion(pulse_rate=rate),
        "zigzag": Motion(velocity=along, swing=across, cycle_rate=rate),
    }[name]


# ---- looks ----


def draw_shape(rng: np.random.Generator, colours: tuple[str, ...], is_main: bool) -> Shape:
    """A shape at rest anywhere on the torus, at any angle and in any phase. The main shape is the biggest."""
    kind, texture, colour = (names[rng.integers(len(names))] for names in (SHAPES, TEXTURES, colours))
    return Shape(
        kind=kind,
        texture=texture,
        colour=colour,
        tones=draw_tones(rng, colour),
        texture_phase=rng.random(),
        position=(rng.random(), rng.random()),
        angle=rng.uniform(0.0, 2.0 * math.pi),
        base_size=rng.uniform(0.135, 0.175) if is_main else rng.uniform(0.08, 0.115),
        pulse_depth=rng.uniform(0.2, 0.32),
        pulse_phase=rng.random(),
        cycle_phase=rng.random(),
        motion=Motion(),
    )


def draw_tones(rng: np.random.Generator, colour: str) -> tuple[Colour, Colour]:
    """A vivid tone of the named colour and one of other brightness: in the video file, hue has half the resolution."""
    hue = (HUES[colour] + rng.uniform(-0.012, 0.012)) % 1.0
    vivid = colorsys.hsv_to_rgb(hue, rng.uniform(0.8, 1.0), rng.uniform(0.85, 1.0))
    dark = colorsys.hsv_to_rgb(hue, 0.9, rng.uniform(0.2, 0.35))
    pale = colorsys.hsv_to_rgb(hue, rng.uniform(0.05, 0.15), 1.0)
    # Yellow and cyan are bright already: a pale second tone would hardly show on them.
    second = dark if rng.random() < 0.5 or colour in ("yellow", "cyan", "orange") else pale
    return vivid, second


def draw_ground(rng: np.random.Generator) -> Ground:
    """A ground at rest. All clips' grounds have the same colours."""
    return Ground(
        grain=int(rng.integers(2**63)),
        colour=GROUND_COLOUR,
        contrasts=GROUND_CONTRASTS,
        position=(rng.random(), rng.random()),
        angle=rng.uniform(0.0, 2.0 * math.pi),
        pulse_depth=rng.uniform(0.2, 0.32),
        pulse_phase=rng.random(),
        cycle_phase=rng.random(),
        motion=Motion(),
    )


def draw_occluders(rng: np.random.Generator) -> tuple[Occluder, ...]:
    """One bar, or two that stand well apart so that they never hide a whole main shape."""
    vertical, first = bool(rng.random() < 0.5), rng.random()
    centres = (first,) if rng.random() < 0.5 else (first, (first + rng.uniform(0.35, 0.65)) % 1.0)
    colour = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.1, 0.45), rng.uniform(0.35, 0.9))
    return tuple(Occluder(vertical, centre, rng.uniform(0.06, 0.1), colour) for centre in centres)
