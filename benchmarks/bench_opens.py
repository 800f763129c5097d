"""Memory and open files over thousands of opens: `python benchmarks/bench_opens.py VIDEO [--opens 5000]`.

Prints, for each reader, how much resident memory grows over all opens after the first tenth, the slope of a line
through 90 readings of it, and open files before and after. Each open decodes two frames, of the path and of its bytes
in turn.
"""

import argparse
import os
from pathlib import Path

import numpy as np

from vjepa.data.video.decord_reader import DecordReader
from vjepa.data.video.facts import scan_video
from vjepa.data.video.pyav_reader import PyAVReader
from vjepa.data.video.torchcodec_reader import TorchcodecReader


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("--opens", type=int, default=5000)
    arguments = parser.parse_args()
    content = Path(arguments.video).read_bytes()
    facts = scan_video(arguments.video)
    print("reader      growth MiB  slope KiB per open  open files")
    for reader in (DecordReader(), PyAVReader(), TorchcodecReader()):
        if missing := reader.missing():
            print(f"{reader.name:<12}{missing}")
            continue
        readings, files = [], 0
        for number in range(arguments.opens):
            if number == arguments.opens // 10:
                files = open_files()
            if number >= arguments.opens // 10 and number % (arguments.opens // 100) == 0:
                readings.append((number, resident_mib()))
            source = content if number % 2 else arguments.video
            reader.decode(source, facts, [0, facts.num_frames // 2])
        numbers, memory = np.array(readings).T
        slope = np.polyfit(numbers, memory, 1)[0] * 1024
        growth = memory[-1] - memory[0]
        print(f"{reader.name:<12}{growth:>10.1f}{slope:>20.2f}  {files} -> {open_files()}", flush=True)


if __name__ == "__main__":
    main()
