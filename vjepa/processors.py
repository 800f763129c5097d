"""Processors that a process may use, how threads of OpenMP use them, and the processes of a launcher."""

import os
from collections.abc import Iterable
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
LAUNCHERS = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")


def count_processors() -> int:
    """Processors that this process may use: those of its affinity, fewer where its container has a lower quota."""
    return max(1, int(min(_by_affinity(), _by_quota())))


def started_processes(variables: Iterable[str] = LAUNCHERS) -> tuple[int, str]:
    """How many processes a launcher has started, and the variable that says so; 1 without one."""
    numbers = {name: os.environ.get(name, "") for name in variables}
    return max(((int(number), name) for name, number in numbers.items() if number.isdecimal()), default=(1, ""))


def prepare_threads() -> None:
    """Set what OpenMP reads once, when torch is loaded; what the user has set stays.

    Threads that wait by spinning take 1.25 times as long on idle processors and up to 10 times beside a busy one
    (measured). torch knows of no quota: in a container it would start a thread for each processor of the machine.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if count_processors() < _by_affinity():
        os.environ.setdefault("OMP_NUM_THREADS", str(count_processors()))


def _by_affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _by_quota() -> float:
    """The quota of cgroup version 2 or 1, in processors; infinite where there is none."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((CGROUP / name).read_text() for name in names).split()
            if float(quota) > 0:
                return float(quota) / float(period)
        except (OSError, ValueError):  # no such version, or the quota is "max"
            continue
    return float("inf")
