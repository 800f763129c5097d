"""The physics world: bright objects before a plain wall that obey physics, or break it at one moment.

For each property, two possible films A and B give two impossible ones, A that goes on as B and B that goes on as A
(the quadruples of IntPhys, arXiv 1803.07616). So beginnings and ends of films, looks and amounts of motion are about
the same in possible and impossible films, and only the moment of the violation tells them apart.

Lengths are in 64ths of the frame's side, x to the right, y down; time is in frames. Objects roll without friction,
bounce without loss and pass in front of each other, so that a film played backwards is possible too.
"""

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Colour = tuple[float, float, float]  # red, green, blue, 0 to 1

FRAME = 64.0  # side
FEWEST_FRAMES = 32
GRAVITY = 0.35  # per frame and frame
KINDS = ("circle", "square", "triangle")
# Of equal area. From the centre to the lowest point, and to the left- and rightmost ones, in radii.
SCALES = {"circle": 0.9, "square": 1.0, "triangle": 1.2}
FEET = {"circle": 0.9, "square": 0.8, "triangle": 0.684}
SIDES = {"circle": 0.9, "square": 0.8, "triangle": 1.19}
HUES = {"red": 0.99, "orange": 0.08, "yellow": 0.15, "green": 0.36, "cyan": 0.51, "blue": 0.62, "pink": 0.87}


@dataclass(frozen=True)
class Thing:
    """One object. Two things of one number are one object that changes."""

    number: int  # in the masks, from 1
    kind: str  # one of KINDS
    colour: Colour
    radius: float
    x: Floats  # (T,) of the centre
    y: Floats  # (T,)
    seen: NDArray[np.bool_]  # (T,) False where the object does not exist


@dataclass(frozen=True)
class Slab:
    """An upright rectangle: a wall, a ledge or a screen."""

    left: float
    right: float
    top: Floats  # (T,)
    bottom: Floats  # (T,)
    colour: Colour


@dataclass(frozen=True)
class Film:
    """All that determines the frames of a clip, back to front."""

    colour: Colour  # of the wall behind
    textures: tuple[int, int]  # seeds: of the wall behind, and of the one that it fades to
    fade: Floats  # (T,) 0 is the first texture, 1 the second
    floor: float  # its y
    ledges: tuple[Slab, ...]
    things: tuple[Thing, ...]
    walls: tuple[Slab, ...]
    screens: tuple[Slab, ...]
    light: Floats  # (T, 3) gain of each colour
    mirrored: bool  # left and right


Quadruple = tuple[Film, Film, Film, Film]  # A, A that goes on as B, B, B that goes on as A


def draw_quadruple(rng: np.random.Generator, name: str, num_frames: int) -> Quadruple:
    """Two pairs of films of a property, one of PROPERTIES: a possible film, and its partner that changes."""
    if name in HARMLESS:
        film = draw_possible(rng, num_frames)
        start, ramp = rng.integers(12, 19), rng.integers(8, 13)
        return HARMLESS[name](rng, film, np.clip((np.arange(num_frames) - start + 1) / ramp, 0.0, 1.0))
    return PHYSICAL[name](Stage(rng, num_frames))


def draw_possible(rng: np.random.Generator, num_frames: int) -> Film:
    """A possible film of any property, in constant light and before a constant texture."""
    name = list(PHYSICAL)[rng.integers(len(PHYSICAL))]
    return draw_quadruple(rng, name, num_frames)[2 * rng.integers(2)]


def draw_training_film(rng: np.random.Generator, num_frames: int) -> Film:
    """A possible film. In one of three the light changes, in one of three the texture of the wall behind."""
    film = draw_possible(rng, num_frames)
    for change in HARMLESS.values():
        start, ramp, number = rng.integers(1, num_frames - 4), rng.integers(8, 13), rng.integers(1, 4)
        if rng.random() < 1 / 3:
            film = change(rng, film, np.clip((np.arange(num_frames) - start + 1) / ramp, 0.0, 1.0))[number]
    return film


class Stage:
    """What all films of a quadruple share, drawn once; objects and slabs are added by the properties."""

    def __init__(self, rng: np.random.Generator, num_frames: int):
        self.rng = rng
        self.frames = np.arange(num_frames)
        self.floor = rng.uniform(50.0, 56.0)
        self.colour = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.05, 0.22), rng.uniform(0.4, 0.62))
        self.textures = (int(rng.integers(2**32)), int(rng.integers(2**32)))
        self.light = np.broadcast_to(draw_light(rng), (num_frames, 3))
        self.mirrored = bool(rng.random() < 0.5)
        self.kinds = rng.permutation(KINDS).tolist()
        self.hues = rng.permutation(list(HUES)).tolist()
        self.radius = rng.uniform(5.6, 6.8)
        self.ledges: tuple[Slab, ...] = ()
        self.walls: tuple[Slab, ...] = ()
        self.screens: tuple[Slab, ...] = ()

    def thing(self, x: Floats, height: Floats | float = 0.0, look: int = 0, hue: int = 0, number: int = 1) -> Thing:
        """An object whose lowest point is `height` above the floor."""
        kind = self.kinds[look]
        colour = colorsys.hsv_to_rgb(HUES[self.hues[hue]], 0.85, 0.95)
        y = self.floor - FEET[kind] * self.radius - height + np.zeros(len(self.frames))
        return Thing(number, kind, colour, self.radius, x + np.zeros(len(y)), y, np.ones(len(y), bool))

    @property
    def side(self) -> float:
        """Half the width of the main object."""
        return SIDES[self.kinds[0]] * self.radius

    @property
    def widest(self) -> float:
        return max(SIDES.values()) * self.radius

    def slab(self, left: float, right: float, top: Floats | float, bottom: Floats | float, colour: Colour) -> Slab:
        still = np.zeros(len(self.frames))
        return Slab(left, right, top + still, bottom + still, colour)

    def add_screen(self, centre: float, half_width: float) -> None:
        """A screen on the floor, higher than any object on it."""
        top = self.floor - 2.4 * self.radius - self.rng.uniform(3.0, 8.0)
        self.screens += (
            self.slab(centre - half_width, centre + half_width, top, self.floor + 1.0, self.screen_colour),
        )

    @property
    def screen_colour(self) -> Colour:
        return colorsys.hsv_to_rgb(0.07, 0.55, 0.36)

    @property
    def stone(self) -> Colour:
        return colorsys.hsv_to_rgb(0.12, 0.12, 0.86)

    def others(self) -> tuple[Thing, ...]:
        """Up to two more objects, at rest or rolling, behind the main one."""
        found: tuple[Thing, ...] = ()
        for number in range(2, 2 + int(self.rng.choice(3, p=(0.55, 0.35, 0.1)))):
            speed = self.rng.choice([-1.0, 1.0]) * self.rng.uniform(0.5, 1.6) * (self.rng.random() < 0.4)
            start, look = self.rng.uniform(5.0, 59.0), int(self.rng.integers(len(KINDS)))
            low, high = -np.inf, np.inf
            half = SIDES[self.kinds[look]] * self.radius
            for wall in self.walls:
                if start < (wall.left + wall.right) / 2:
                    high = wall.left - half
                    start = min(start, high)
                else:
                    low = wall.right + half
                    start = max(start, low)
            found += (self.thing(reflected(start + speed * self.frames, low, high), 0.0, look, number, number),)
        return found[::-1]

    def film(self, *parts: Thing, others: Sequence[Thing], ledges: Sequence[Slab] | None = None) -> Film:
        return Film(
            colour=self.colour,
            textures=self.textures,
            fade=np.zeros(len(self.frames)),
            floor=self.floor,
            ledges=self.ledges if ledges is None else tuple(ledges),
            things=(*others, *parts),
            walls=self.walls,
            screens=self.screens,
            light=self.light,
            mirrored=self.mirrored,
        )

    def spliced(self, first: Thing | None, second: Thing | None, frame: int) -> Quadruple:
        """Films of the two, None being absent, and those that change from one to the other at a frame."""
        others, early = self.others(), self.frames < frame
        always = np.ones(len(early), bool)

        def film(*parts: tuple[Thing | None, NDArray[np.bool_]]) -> Film:
            seen = (replace(thing, seen=when) for thing, when in parts if thing is not None)
            return self.film(*seen, others=others)

        return (
            film((first, always)),
            film((first, early), (second, ~early)),
            film((second, always)),
            film((second, early), (first, ~early)),
        )

    def moment(self, first: int = 12, last: int = 21) -> int:
        """The frame of the violation, or of the middle of what hides it."""
        return int(self.rng.integers(first, last + 1))

    def height(self) -> Floats:
        """Of an object on the floor, or of one that bounces."""
        if self.rng.random() < 0.5:
            return np.zeros(len(self.frames))
        return bounce(self.frames + self.rng.uniform(0.0, 30.0), self.rng.uniform(8.0, 26.0))


# ---- tracks ----


def reflected(x: Floats, low: float, high: float) -> Floats:
    """A straight track that one barrier sends back."""
    x = np.where(x > high, 2 * high - x, x)
    return np.where(x < low, 2 * low - x, x)


def bounce(time: Floats, apex: float) -> Floats:
    """Height of an object that is dropped from `apex` at time 0 and bounces back to it, for ever."""
    half = np.sqrt(2.0 * apex / GRAVITY)  # of a period
    since_apex = (time + half) % (2.0 * half) - half
    return apex - 0.5 * GRAVITY * since_apex**2


# ---- the properties ----


def permanence(stage: Stage) -> Quadruple:
    """An object is gone, or a new one there, behind a screen that it has passed or that is lifted."""
    rng = stage.rng
    if rng.random() < 0.5:
        middle, centre = stage.moment(12, 16), rng.uniform(29.0, 36.0)
        stage.add_screen(centre, stage.side + rng.uniform(2.0, 4.0))
        speed = rng.uniform(1.2, min(2.0, (centre - 4.0) / middle))
        return stage.spliced(stage.thing(centre + speed * (stage.frames - middle)), None, middle)
    centre = rng.uniform(14.0, 50.0)
    rises, falls = rng.uniform(1.0, 4.0), rng.uniform(12.0, 18.0)
    cover = np.clip(np.minimum(stage.frames - rises, falls + 5.0 - stage.frames) / 5.0, 0.0, 1.0)
    half, tall = stage.side + rng.uniform(2.0, 4.0), 2.4 * stage.radius + 6.0
    if rng.random() < 0.5:  # from the floor, or like a curtain
        top, bottom = stage.floor + 1.0 - tall * cover, stage.floor + 1.0
    else:
        top, bottom = -1.0, (stage.floor + 1.0) * cover
    stage.screens = (stage.slab(centre - half, centre + half, top, bottom, stage.screen_colour),)
    return stage.spliced(stage.thing(np.full(len(cover), centre)), None, int((rises + 5.0 + falls) / 2))


def continuity(stage: Stage) -> Quadruple:
    """An object jumps ahead or back, before our eyes or from behind one screen to behind another."""
    rng = stage.rng
    if rng.random() < 0.5:
        at, ahead = stage.moment(), rng.uniform(14.0, 24.0)
        speed = rng.uniform(0.9, 1.5)
        where = rng.uniform(min(speed * at + 4.0, 56.0 - ahead), 58.0 - ahead) + speed * (stage.frames - at)
        height = stage.height()
        return stage.spliced(stage.thing(where, height), stage.thing(where + ahead, height), at)
    stage.radius = rng.uniform(4.2, 5.0)
    middle, first, apart = stage.moment(13, 16), rng.uniform(17.0, 20.0), rng.uniform(27.0, 30.0)
    half = stage.side + rng.uniform(1.8, 2.4)
    stage.add_screen(first, half)
    stage.add_screen(first + apart, half)
    where = first + (apart - stage.side) / middle * (stage.frames - middle)  # the one ahead starts half in sight
    return stage.spliced(stage.thing(where), stage.thing(where + apart), middle)


def solidity(stage: Stage) -> Quadruple:
    """An object passes through a wall."""
    rng = stage.rng
    centre, half, at = rng.uniform(26.0, 38.0), rng.uniform(2.0, 3.5), stage.moment()
    top = rng.uniform(6.0, 24.0)
    stage.walls = (stage.slab(centre - half, centre + half, top, stage.floor + 1.0, stage.stone),)
    reach = half + stage.side
    speed = rng.uniform(1.0, 2.2)
    height = stage.height() * 0.6
    height = height * (stage.floor - top - 14.0) / max(float(height.max()), stage.floor - top - 14.0)
    straight = speed * (stage.frames - at + rng.uniform(0.2, 1.0))
    left, right = -reach - np.abs(straight), reach + np.abs(straight)
    others = stage.others()
    a, ab, b, ba = (
        stage.film(stage.thing(centre + x, height), others=others)
        for x in (
            left,
            np.where(straight > 0, straight - reach, left),
            right,
            np.where(straight > 0, reach - straight, right),
        )
    )
    return a, ab, b, ba


def changed_look(stage: Stage, look: int, hue: int) -> Quadruple:
    """An object becomes another one, before our eyes or behind a screen."""
    rng = stage.rng
    if rng.random() < 0.5:
        at, speed = stage.moment(), rng.uniform(0.8, 1.4)
        where = rng.uniform(speed * at + 4.0, 50.0) + speed * (stage.frames - at)
        height = stage.height()
    else:
        at, centre, height = stage.moment(12, 16), rng.uniform(29.0, 36.0), np.zeros(len(stage.frames))
        stage.add_screen(centre, stage.widest + rng.uniform(2.0, 3.0))
        where = centre + rng.uniform(1.2, min(2.0, (centre - 4.0) / at)) * (stage.frames - at)
    return stage.spliced(stage.thing(where, height), stage.thing(where, height, look, hue), at)


def shape(stage: Stage) -> Quadruple:
    return changed_look(stage, look=1, hue=0)


def color(stage: Stage) -> Quadruple:
    return changed_look(stage, look=0, hue=1)


def gravity(stage: Stage) -> Quadruple:
    """A falling object rises, or a rising one falls before its time."""
    rng = stage.rng
    at, apex = stage.moment(), rng.uniform(18.0, 30.0)
    half = np.sqrt(2.0 * apex / GRAVITY)
    since_apex = rng.uniform(0.35, 0.75) * half  # when it changes: high above the floor, and fast
    where = rng.uniform(20.0, 44.0) + rng.choice([0.0, 1.0]) * rng.uniform(0.4, 1.2) * (stage.frames - at)
    falling, rising = (bounce(sign * (stage.frames - at + 1) + since_apex, apex) for sign in (1, -1))
    return stage.spliced(stage.thing(where, falling), stage.thing(where, rising), at)


def inertia(stage: Stage) -> Quadruple:
    """A rolling object turns round, speeds up, slows down, stops or starts without a cause."""
    rng = stage.rng
    at = stage.moment()
    where = rng.uniform(28.0, 36.0)
    change = rng.integers(3)
    first = rng.uniform(1.0, min(1.8, (where - 4.0) / at))
    second = (-first, 0.0, 0.4 * first)[change]
    since = stage.frames - at + 1
    return stage.spliced(stage.thing(where + first * since), stage.thing(where + second * since), at)


def support(stage: Stage) -> Quadruple:
    """An object floats on where its ledge ends, or sinks through a ledge that goes on."""
    rng = stage.rng
    at, end, high = stage.moment(), rng.uniform(26.0, 36.0), rng.uniform(18.0, 28.0)
    top, still = stage.floor - high, np.zeros(len(stage.frames))
    short, long = (stage.slab(-1.0, right, top, top + 3.0, stage.stone) for right in (end, 65.0))
    since = stage.frames - at + 1.0
    where = end + rng.uniform(1.0, min(1.8, (end - 4.0) / at)) * since
    fall = np.maximum(high - 0.5 * GRAVITY * np.maximum(since, 0.0) ** 2, 0.0)
    others = stage.others()
    falls, floats = stage.thing(where, fall), stage.thing(where, high + still)
    return (
        stage.film(falls, others=others, ledges=(short,)),
        stage.film(floats, others=others, ledges=(short,)),
        stage.film(floats, others=others, ledges=(long,)),
        stage.film(falls, others=others, ledges=(long,)),
    )


def light(rng: np.random.Generator, film: Film, ramp: Floats) -> Quadruple:
    """The colour of the light changes."""
    first, second = film.light[0], draw_light(rng)
    while np.abs(second - first).max() < 0.15:
        second = draw_light(rng)
    a, ab, b, ba = (
        replace(film, light=first + np.outer(amount, second - first))
        for amount in (0 * ramp, ramp, 0 * ramp + 1, 1 - ramp)
    )
    return a, ab, b, ba


def texture(rng: np.random.Generator, film: Film, ramp: Floats) -> Quadruple:
    """The texture of the wall behind changes."""
    a, ab, b, ba = (replace(film, fade=amount) for amount in (0 * ramp, ramp, 0 * ramp + 1, 1 - ramp))
    return a, ab, b, ba


def draw_light(rng: np.random.Generator) -> Floats:  # (3,)
    return rng.uniform(0.85, 1.1) * rng.uniform(0.88, 1.12, 3)


PHYSICAL: dict[str, Callable[[Stage], Quadruple]] = {
    "permanence": permanence,
    "continuity": continuity,
    "solidity": solidity,
    "shape": shape,
    "color": color,
    "gravity": gravity,
    "inertia": inertia,
    "support": support,
}
HARMLESS: dict[str, Callable[[np.random.Generator, Film, Floats], Quadruple]] = {"light": light, "texture": texture}
PROPERTIES = (*PHYSICAL, *HARMLESS)
