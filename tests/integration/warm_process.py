"""Runs `vjepa` commands in forks of one process that has imported everything: a process of its own without its start.

Each line on stdin is a request, answered by a line with the exit codes of its processes. Under `ranks`, that many
processes run the command as `torchrun` starts them.
"""

import importlib
import json
import os
import sys
import time
from typing import Any

IMPORTED = (
    "vjepa.cli.training",
    "vjepa.cli.evaluation.probe_command",
    "vjepa.cli.evaluation.compare_command",
    "vjepa.__main__",
)


def serve() -> None:
    for module in IMPORTED:
        importlib.import_module(module)
    for line in sys.stdin:
        request = json.loads(line)
        processes = []
        for rank in range(request["ranks"] or 1):
            process = os.fork()
            if not process:
                become(request, rank)
                return run(request["arguments"])
            processes.append(process)
        print(json.dumps(exit_codes(processes, request["timeout"])), flush=True)


def become(request: dict[str, Any], rank: int) -> None:
    """Give this fork the files, folder and environment of the process that it stands for."""
    for number, name in ((0, os.devnull), (1, request["stdout"]), (2, request["stderr"])):
        file = os.open(name, os.O_RDWR | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    if request["ranks"]:
        on_node = request["ranks"] // request["nodes"]
        os.environ |= {
            "TORCHELASTIC_RUN_ID": "tests",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(request["port"]),
            "WORLD_SIZE": str(request["ranks"]),
            "LOCAL_WORLD_SIZE": str(on_node),
            "GROUP_RANK": str(rank // on_node),
            "RANK": str(rank),
            "LOCAL_RANK": str(rank % on_node),
        }


def run(arguments: list[str]) -> None:
    main = sys.modules["vjepa.__main__"]
    sys.argv = [str(main.__file__), *arguments]
    sys.modules["__main__"] = main  # what Lightning starts again for a second rank
    main.main()


def exit_codes(processes: list[int], timeout: float) -> list[int]:
    """Wait for all; as `torchrun` does, end the others where one has failed."""
    codes: dict[int, int] = {}
    end = time.monotonic() + timeout
    while len(codes) < len(processes):
        process, status = os.waitpid(-1, os.WNOHANG)
        if process:
            codes[process] = os.waitstatus_to_exitcode(status)
        failed = any(codes.values())
        if not process and (failed or time.monotonic() > end):
            for other in set(processes) - set(codes):
                os.kill(other, 15 if failed else 9)
        if not process:
            time.sleep(0.02)
    return [codes[process] for process in processes]


if __name__ == "__main__":
    serve()
