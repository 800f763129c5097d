"""Two Rooms: walls hold, tasks are fair, and a frame tells where the agent is."""

import numpy as np
import pytest

from vjepa.envs.two_rooms import DOOR_RANGE, FIXED_LAYOUT, WALL_RANGE, TwoRooms, is_held_out, render
from vjepa.envs.two_rooms_collision import BORDER, DOOR_HALF_WIDTH, RADIUS, SIZE, WALL_HALF_WIDTH, moved
from vjepa.envs.world import Tasks

HAIR = 1e-5


def clearance(places: np.ndarray, layouts: np.ndarray) -> np.ndarray:
    """From centres to the nearest point of the wall; by the wall's rectangles, not by circles and grown boxes."""
    across = np.maximum(np.abs(places[..., 0] - layouts[..., 0]) - WALL_HALF_WIDTH, 0)
    into_door = np.maximum(DOOR_HALF_WIDTH - np.abs(places[..., 1] - layouts[..., 1]), 0)
    return np.hypot(across, into_door)


def random_layouts(generator: np.random.Generator, count: int) -> np.ndarray:
    ranges = WALL_RANGE, DOOR_RANGE
    return np.stack([generator.integers(low, high + 1, count) for low, high in ranges], axis=1).astype(float)


def test_nobody_touches_the_wall_or_leaves_the_border_in_many_random_walks():
    suite, generator = TwoRooms("random"), np.random.default_rng(0)
    tasks = suite.tasks(1500, 0, "train")
    world = suite.begin(tasks)
    before, crossed = world.states, 0
    direction = generator.uniform(0, 2 * np.pi, 1500)
    for _ in range(120):
        direction += generator.normal(0, 0.3, 1500)
        world.step(5 * np.stack((np.cos(direction), np.sin(direction)), axis=1))  # longer than is allowed
        places = world.states
        assert clearance(places, tasks.layouts).min() > RADIUS - HAIR
        assert places.min() >= BORDER and places.max() <= SIZE - BORDER
        assert np.linalg.norm(places - before, axis=1).max() <= 2.45 + HAIR
        through = np.sign(places[:, 0] - tasks.layouts[:, 0]) != np.sign(before[:, 0] - tasks.layouts[:, 0])
        # A step that crosses ends within 2.45 px of the wall's middle, where only the door has room.
        assert (np.abs(places - tasks.layouts)[through, 1] < DOOR_HALF_WIDTH).all()
        crossed += int(through.sum())
        before = places
    assert crossed > 100


def test_long_moves_at_the_doors_corners_never_jump():
    """A share of a move leads along the same path; so shares sample it, and show where it goes through anything."""
    generator = np.random.default_rng(1)
    count, samples = 1500, 120
    layouts = np.tile([32.0, 32.0], (count, 1))
    corner = np.stack(
        (32 + generator.choice([-1.5, 1.5], count), 32 + generator.choice([-DOOR_HALF_WIDTH, DOOR_HALF_WIDTH], count)),
        axis=1,
    )
    places = corner + generator.normal(0, 4, (count, 2))
    moves = corner + generator.normal(0, 2.5, (count, 2)) - places  # right at the corner, and beyond it
    moves *= generator.uniform(1, 3, (count, 1))
    free = clearance(places, layouts) > RADIUS
    free &= (np.abs(places + moves - SIZE / 2) < SIZE / 2 - BORDER).all(1)  # the border bends moves that go beyond it
    places, moves, layouts = places[free], moves[free], layouts[free]
    shares = np.linspace(0, 1, samples + 1)
    path = np.stack([moved(places, share * moves, layouts) for share in shares])  # (samples + 1, B, 2)

    assert clearance(path, layouts).min() > RADIUS - HAIR
    longest = np.linalg.norm(moves, axis=1).max() / samples
    assert np.linalg.norm(np.diff(path, axis=0), axis=-1).max() < longest + HAIR
    assert (np.sign(path[-1, :, 0] - 32) != np.sign(places[:, 0] - 32)).mean() > 0.1


@pytest.mark.parametrize("x", [28.5, 20.0])
@pytest.mark.parametrize("move", [(60.0, 0.0), (60.0, 3.0), (60.0, -20.0)])
def test_even_the_longest_move_ends_at_the_wall(x: float, move: tuple[float, float]):
    layout = np.array([[32.0, 12.0]])
    end = moved(np.array([[x, 45.0]]), np.array([move]), layout)
    assert end[0, 0] == pytest.approx(32 - WALL_HALF_WIDTH - RADIUS, abs=1e-4)


def test_agents_slide_along_walls_and_borders():
    layout = np.array([[32.0, 12.0]])
    touching = 32 - WALL_HALF_WIDTH - RADIUS
    along_wall = moved(np.array([[touching, 40.0]]), np.array([[1.0, 2.0]]), layout)
    np.testing.assert_allclose(along_wall, [[touching, 42.0]], atol=HAIR)
    along_border = moved(np.array([[10.0, BORDER]]), np.array([[2.0, -1.0]]), layout)
    np.testing.assert_allclose(along_border, [[12.0, BORDER]], atol=HAIR)
    into_corner = moved(np.array([[touching, SIZE - BORDER]]), np.array([[2.0, 2.0]]), layout)
    np.testing.assert_allclose(into_corner, [[touching, SIZE - BORDER]], atol=HAIR)


def test_agents_leave_a_wall_that_they_touch():
    layout = np.array([[32.0, 12.0]])
    touching = 32 - WALL_HALF_WIDTH - RADIUS
    at_wall = moved(np.array([[25.0, 40.0]]), np.array([[20.0, 0.0]]), layout)
    assert at_wall[0, 0] == pytest.approx(touching, abs=HAIR)
    np.testing.assert_allclose(moved(at_wall, np.array([[-2.0, 0.0]]), layout), at_wall - [[2.0, 0.0]], atol=HAIR)


def test_an_agent_slides_around_the_doors_corner():
    layouts = np.array([[32.0, 32.0]])
    place = np.array([[28.0, 27.5]])  # beside the corner, too high for the door
    for _ in range(12):
        place = moved(place, np.array([[1.0, 0.3]]), layouts)
    assert place[0, 0] > 34


@pytest.mark.parametrize("settings", [{}, {"layouts": "random", "distractors": 2, "fork": True}])
def test_an_episode_alone_is_the_same_as_in_a_batch(settings: dict):
    suite = TwoRooms(**settings)
    tasks = suite.tasks(12, 3, "train")
    moves = 2 * np.random.default_rng(0).normal(size=(30, 12, 2)) + (tasks.goals - tasks.starts) / 30
    together, alone = suite.begin(tasks), suite.begin(tasks.rows(slice(7, 8)))
    for move in moves:
        together.step(move)
        alone.step(move[7:8])
    np.testing.assert_array_equal(alone.states[0], together.states[7])
    np.testing.assert_array_equal(alone.render()[0], together.render()[7])


def test_tasks_depend_on_seed_split_and_number_alone():
    suite = TwoRooms("random")
    many, few = suite.tasks(20, 5, "test"), suite.tasks(4, 5, "test")
    for part, of_many in zip(few, many, strict=True):
        np.testing.assert_array_equal(part, of_many[:4])
    assert not np.array_equal(suite.tasks(4, 6, "test").starts, few.starts)
    assert not np.array_equal(suite.tasks(4, 5, "train").starts, few.starts)


@pytest.mark.parametrize("layouts", ["fixed", "random"])
@pytest.mark.parametrize("split", ["train", "test", "same_room"])
def test_start_and_goal_are_free_and_out_of_reach_of_each_other(layouts, split: str):
    suite = TwoRooms(layouts)
    tasks = suite.tasks(400, 1, split)
    sides = [np.sign(places[:, 0] - tasks.layouts[:, 0]) for places in (tasks.starts, tasks.goals)]
    assert ((sides[0] == sides[1]) == (split == "same_room")).all()
    assert 0.4 < (sides[0] > 0).mean() < 0.6
    assert suite.distances(tasks, tasks.starts).min() > 2 * suite.radii[0]
    for places in (tasks.starts, tasks.goals):
        assert clearance(places, tasks.layouts).min() > RADIUS
        assert places.min() >= BORDER and places.max() <= SIZE - BORDER


def test_held_out_layouts_are_never_trained_on():
    suite = TwoRooms("random")
    for split in ("train", "test", "same_room", "held_out"):
        layouts = suite.tasks(400, 2, split).layouts
        assert all(is_held_out(layout) == (split == "held_out") for layout in layouts)
        assert layouts.min(0).tolist() >= [WALL_RANGE[0], DOOR_RANGE[0]]
        assert layouts.max(0).tolist() <= [WALL_RANGE[1], DOOR_RANGE[1]]
    every = [(x, y) for x in range(20, 45) for y in range(10, 55)]
    assert sum(is_held_out(np.array(layout)) for layout in every) / len(every) == pytest.approx(0.2, abs=0.01)


def test_the_fixed_layout_is_always_the_same():
    assert (TwoRooms("fixed").tasks(5, 0, "test").layouts == FIXED_LAYOUT).all()


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match=r"layouts 'moving' must be one of fixed, random"):
        TwoRooms("moving")
    with pytest.raises(ValueError, match=r"split 'val' of Two Rooms must be one of train, test"):
        TwoRooms().tasks(1, 0, "val")


def plain_render(places: np.ndarray, layouts: np.ndarray) -> np.ndarray:
    """The twin of `render`: every pixel of every frame as the mean of what it shows, in whole numbers at the end."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    frames = []
    for place, (wall, door) in zip(places, layouts, strict=True):
        is_wall = np.clip(2 - np.abs(x - wall), 0, 1) * np.clip(np.abs(y - door) - 4.5, 0, 1)
        frame = np.array([24, 24, 32]) + is_wall[..., None] * (np.array([170, 170, 180]) - np.array([24, 24, 32]))
        dot = np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * 1.6**2))
        frames.append(frame + dot[..., None] * (np.array([250, 90, 70]) - frame))
    return np.round(frames)


def test_frames_are_those_of_a_plain_painter():
    generator = np.random.default_rng(0)
    layouts = random_layouts(generator, 40)
    places = generator.uniform(BORDER, SIZE - BORDER, (40, 2))
    places[:4] = [(5, 5), (59, 5), (5, 59), (59, 59)]
    np.testing.assert_array_equal(render(places, layouts), plain_render(places, layouts))


def test_a_frame_tells_the_agents_place():
    generator = np.random.default_rng(0)
    layouts = random_layouts(generator, 50)
    places = generator.uniform(BORDER, SIZE - BORDER, (50, 2))
    red, green, blue = np.moveaxis(render(places, layouts).astype(float), -1, 0)
    redness = np.clip(red - (green + blue) / 2 + 4, 0, None)  # floor and wall are -4 and -5
    middle = np.arange(SIZE) + 0.5
    for axis, coordinate in ((1, 0), (2, 1)):
        weights = redness.sum(axis)
        np.testing.assert_allclose(weights @ middle / weights.sum(1), places[:, coordinate], atol=0.1)


def test_goals_are_drawn_as_what_is_seen_there():
    suite = TwoRooms("random")
    tasks = suite.tasks(6, 0, "test")
    np.testing.assert_array_equal(suite.render_goals(tasks), render(tasks.goals, tasks.layouts))


def test_distractors_wander_and_actions_do_not_move_them():
    suite = TwoRooms(distractors=3)
    tasks = suite.tasks(5, 0, "test")
    first, second = suite.begin(tasks), suite.begin(tasks)
    before = first.render()
    for _ in range(20):
        first.step(np.full((5, 2), 1.5))
        second.step(np.full((5, 2), -1.5))
    near_agents = np.zeros((5, SIZE, SIZE), bool)
    middle = np.arange(SIZE) + 0.5
    for world in (first, second):
        x, y = (np.abs(middle - world.states[:, k : k + 1]) < 10 for k in (0, 1))
        near_agents |= y[:, :, None] & x[:, None, :]
    is_blue = (first.render()[..., 2].astype(int) - first.render()[..., 0]) > 40
    assert is_blue.any((1, 2)).all()
    np.testing.assert_array_equal(first.render()[~near_agents], second.render()[~near_agents])
    assert (before != first.render())[~near_agents].any()


def test_a_fork_pushes_up_or_down_and_never_neither():
    count = 300
    tasks = Tasks(
        np.tile([26.0, 32.0], (count, 1)),
        np.tile([50.0, 32.0], (count, 1)),
        np.tile([32.0, 32.0], (count, 1)),
        np.arange(count),
    )
    world = TwoRooms(fork=True).begin(tasks)
    for _ in range(24):
        world.step(np.tile([1.0, 0.0], (count, 1)))
    aside = world.states[:, 1] - 32
    np.testing.assert_allclose(np.abs(aside), 12, atol=0.1)
    assert 0.4 < (aside > 0).mean() < 0.6

    unforked = TwoRooms().begin(tasks)
    for _ in range(24):
        unforked.step(np.tile([1.0, 0.0], (count, 1)))
    np.testing.assert_allclose(unforked.states[:, 1], 32)


def test_ways_by_the_door_are_hardly_shorter_than_the_shortest_path():
    suite = TwoRooms("random")
    tasks = suite.tasks(30, 0, "test")
    by_door, shortest = suite.route_lengths(tasks, tasks.starts), suite.shortest_paths(tasks)
    assert (by_door > shortest - 0.01).all() and (by_door < 1.25 * shortest + 3).all()
