"""A collection is written as it comes, and is there whole or not at all."""

import json

import numpy as np
import pytest

from tests.data.episodes.tiny_episodes import SIZE, counter_frames, counter_rows, write_collection, write_episodes
from vjepa.data.episodes.collection import Collection, CollectionWriter
from vjepa.planning.limits import ActionLimit


def episode(length=8, frame_interval=4, number=0, size=SIZE):
    kept = np.arange(0, length + 1, frame_interval)
    return counter_frames(kept, number, size), counter_rows(np.arange(length), number), counter_rows(kept, number)


def test_what_was_written_is_read(tmp_path):
    with CollectionWriter(tmp_path / "deep" / "rooms", 4, {"name": "rooms"}, ActionLimit(2.45, "norm"), "px") as writer:
        writer.add(*episode(8))
        writer.add(*episode(15, number=1))
        writer.add(*episode(15, number=1))
    store = Collection(tmp_path / "deep" / "rooms")
    assert store.lengths.tolist() == [8, 15, 15] and store.frame_interval == 4
    assert (store.world, store.action_limit, store.unit) == ({"name": "rooms"}, ActionLimit(2.45, "norm"), "px")
    frames, actions, states = episode(15, number=1)
    np.testing.assert_array_equal(store.frames(2, np.array([0, 4, 8, 12])), frames)
    np.testing.assert_array_equal(store.actions(2, 0, 15), actions)
    np.testing.assert_array_equal(store.states(2, np.array([4, 0])), states[[1, 0]])
    assert {path.name for path in store.root.iterdir()} == {"frames.npy", "actions.npy", "states.npy", "episodes.json"}


def test_a_collection_of_an_older_version_is_read(tmp_path):
    root = write_collection(tmp_path / "made", frame_interval=2)
    facts = json.loads((root / "episodes.json").read_text())
    facts["kept_every"] = facts.pop("frame_interval")
    (root / "episodes.json").write_text(json.dumps(facts))
    assert Collection(root).frame_interval == 2


def test_a_world_without_states_has_none(tmp_path):
    write_episodes(
        tmp_path / "made", [(frames, actions, None) for frames, actions, _ in (episode(),)], frame_interval=4
    )
    store = Collection(tmp_path / "made")
    assert store.state_dim == 0 and store.states(0, np.array([0, 4])).shape == (2, 0)


def test_an_error_leaves_nothing_behind(tmp_path):
    with pytest.raises(KeyboardInterrupt), CollectionWriter(tmp_path / "made", 4) as writer:
        writer.add(*episode())
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="no episode to write to"), CollectionWriter(tmp_path / "made", 4):
        pass
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_there_until_all_is(tmp_path):
    with CollectionWriter(tmp_path / "made", 4) as writer:
        writer.add(*episode())
        assert not (tmp_path / "made").exists()
    assert (tmp_path / "made").is_dir()
    with pytest.raises(ValueError, match="made is there already; give another folder, or remove it"):
        CollectionWriter(tmp_path / "made", 4)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            (episode()[0][:2], *episode()[1:]),
            r"8 raw steps has 2 frames .* must have 3 uint8 frames and as many states",
        ),
        ((*episode()[:2], episode()[2][:2]), r"has 3 frames \(uint8\) and 2 states"),
        ((episode()[0].astype(float), *episode()[1:]), r"3 frames \(float64\)"),
        (episode(size=(16, 16)), r"frames of an episode are \(16, 16, 3\) .* all episodes must be alike"),
        (
            (episode()[0], episode()[1][:, :1], episode()[2]),
            r"actions of an episode are \(1,\) float32 and those before",
        ),
        ((episode()[0], episode()[1] * np.nan, episode()[2]), "actions of episode 1 at row 0 are not finite"),
    ],
)
def test_episodes_that_do_not_fit_are_refused(tmp_path, parts, message):
    with pytest.raises(ValueError, match=message), CollectionWriter(tmp_path / "made", 4) as writer:
        writer.add(*episode())
        writer.add(*parts)


def test_a_collection_that_is_not_whole_is_refused(tmp_path):
    root = write_collection(tmp_path / "made")
    facts = json.loads((root / "episodes.json").read_text())
    (root / "episodes.json").write_text(json.dumps({**facts, "lengths": [*facts["lengths"], 5]}))
    with pytest.raises(ValueError, match="has 60 rows of frames, but its episodes need 66"):
        Collection(root)
    (root / "episodes.json").write_text(json.dumps({**facts, "format": "vjepa episodes 9"}))
    with pytest.raises(ValueError, match=r"states \(vjepa episodes 9\) must be 'vjepa episodes 1'"):
        Collection(root)
    (root / "episodes.json").write_text("{")
    with pytest.raises(ValueError, match=r"episodes\.json is no JSON"):
        Collection(root)
    (root / "episodes.json").write_text(json.dumps(facts))
    (root / "actions.npy").unlink()
    with pytest.raises(ValueError, match=r"there is no file .*actions\.npy; the collection is not whole"):
        Collection(root)
    with pytest.raises(ValueError, match=r"is no collection of episodes: there is no episodes\.json in it"):
        Collection(tmp_path)
