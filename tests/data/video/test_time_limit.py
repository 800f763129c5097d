"""A decoder that hangs is left behind: the next reader reads the file, and the process can still end."""

import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

from tests.needs_decord import needs_decord
from vjepa.data.manifest.manifest import read_manifest
from vjepa.data.video import reader
from vjepa.data.video.facts import VideoError
from vjepa.data.video.reader import ReaderChain
from vjepa.data.video.time_limit import OutOfTimeError, with_time_limit


@pytest.fixture
def released():
    """What a hanging decoder waits for; set when the test ends, so that its threads end too."""
    event = threading.Event()
    yield event
    event.set()


def test_what_does_not_come_back_is_given_up_within_the_limit(released):
    began = time.perf_counter()
    with pytest.raises(OutOfTimeError, match="it did not return"):
        with_time_limit(released.wait, 0.1, "it did not return")
    assert 0.1 <= time.perf_counter() - began < 2


@pytest.mark.parametrize("seconds", [None, 5.0])
def test_results_and_errors_pass_through(seconds):
    assert with_time_limit(lambda: [1, 2], seconds, "late") == [1, 2]
    assert with_time_limit(lambda: None, seconds, "late") is None
    for error in (KeyError("a"), VideoError("cut short"), KeyboardInterrupt()):

        def fail(error=error):
            raise error

        with pytest.raises(type(error)) as raised:
            with_time_limit(fail, seconds, "late")
        assert raised.value is error


def test_without_a_limit_work_is_done_in_the_thread_that_asks():
    assert with_time_limit(threading.current_thread, None, "") is threading.current_thread()


def test_what_is_out_of_time_is_an_unreadable_file():
    assert issubclass(OutOfTimeError, VideoError)


class Hanging:
    """In place of a reader's `decode` or `scan`: never comes back, and counts how often it was asked."""

    def __init__(self, event: threading.Event):
        self.event = event
        self.asked: list[object] = []

    def __call__(self, source, *arguments, **keywords):
        self.asked.append(source)
        self.event.wait(30)
        raise VideoError("released")


@needs_decord
def test_a_hanging_reader_is_passed_over_and_not_asked_again_for_that_file(tiny_world, released, monkeypatch):
    chain = ReaderChain(["decord", "pyav"])
    first, second = list(read_manifest(tiny_world / "train.csv").paths)[:2]
    facts = chain.scan(first)
    assert chain.reader_of(facts).name == "decord"
    expected = ReaderChain(["pyav"]).decode(first, facts, [0, 5])
    decord = next(reader for reader in chain.readers if reader.name == "decord")
    hanging = Hanging(released)
    monkeypatch.setattr(decord, "decode", hanging)
    chain.time_limit = 1.0
    began = time.perf_counter()
    assert (chain.decode(first, facts, [0, 5]) == expected).all()
    assert 1 <= time.perf_counter() - began < 5
    assert (chain.decode(first, facts, [0, 5]) == expected).all()
    assert hanging.asked == [first]
    chain.decode(second, chain.scan(second), [0])
    assert hanging.asked == [first, second]  # another file may do


@needs_decord
def test_a_file_on_which_all_readers_hang_is_unreadable_with_a_reason_of_each(tiny_world, released, monkeypatch):
    chain = ReaderChain(["decord", "pyav"], time_limit=0.2)
    path = read_manifest(tiny_world / "train.csv").paths[0]
    facts = ReaderChain(["pyav"]).scan(path)
    hanging = [Hanging(released), Hanging(released)]
    for each, decode in zip(chain.readers[1:], hanging, strict=True):
        monkeypatch.setattr(each, "decode", decode)
    late = "it did not return within 0.2 s"
    for _ in range(2):
        with pytest.raises(VideoError, match=f"decord: {late}; pyav: {late}"):
            chain.decode(path, facts, [0])
    assert [len(each.asked) for each in hanging] == [1, 1]


def test_a_scan_that_hangs_is_given_up_and_not_tried_again(tiny_world, released, monkeypatch):
    chain = ReaderChain(["pyav"], time_limit=0.2)
    path = read_manifest(tiny_world / "train.csv").paths[0]
    hanging = Hanging(released)
    monkeypatch.setattr(reader, "scan_video", hanging)
    for _ in range(2):
        with pytest.raises(OutOfTimeError, match=r"did not return within 0.2 s"):
            chain.scan(path)
    assert hanging.asked == [path]


@needs_decord
def test_a_reader_that_fails_in_time_may_be_asked_again(tiny_world, monkeypatch):
    chain = ReaderChain(["decord", "pyav"], time_limit=30.0)
    path = read_manifest(tiny_world / "train.csv").paths[0]
    facts = chain.scan(path)
    asked = []

    def fail(source, *arguments):
        asked.append(source)
        raise VideoError("not today")

    monkeypatch.setattr(chain.readers[1], "decode", fail)
    for _ in range(2):
        assert chain.decode(path, facts, [3, 3]).shape == (2, 32, 32, 3)
    assert asked == [path, path]


def test_a_decoder_works_the_same_with_and_without_a_limit(tiny_world):
    path = read_manifest(tiny_world / "train.csv").paths[0]
    with_limit, without = ReaderChain(time_limit=30.0), ReaderChain(time_limit=None)
    facts = without.scan(path)
    assert with_limit.scan(path) == facts
    assert np.array_equal(with_limit.decode(path, facts, [1, 7]), without.decode(path, facts, [1, 7]))


@pytest.mark.slow
def test_a_process_with_a_hung_thread_still_ends():
    program = """
        import threading
        from vjepa.data.video.time_limit import OutOfTimeError, with_time_limit
        try:
            with_time_limit(threading.Event().wait, 0.05, "late")
        except OutOfTimeError:
            print("left behind", flush=True)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], timeout=30, capture_output=True, text=True, check=True
    )
    assert run.stdout == "left behind\n" and run.stderr == ""
