"""GPUs by name: memory, and the dense peak of products in 16 bits, from their makers' data sheets.

Data sheets often lead with twice the number, which holds for sparse matrices alone.
"""

from typing import NamedTuple


class Gpu(NamedTuple):
    memory_gb: int
    peak_tflops: float  # bf16 with sums in fp32, dense


# Of names that begin alike the longer one comes first.
GPUS: dict[str, Gpu] = {
    "b200": Gpu(180, 2250.0),
    "h200-nvl": Gpu(141, 836.0),
    "h200": Gpu(141, 989.0),
    "gh200": Gpu(96, 989.0),
    "h100-nvl": Gpu(94, 835.0),
    "h100-pcie": Gpu(80, 756.0),
    "h100": Gpu(80, 989.0),
    "a100-40gb": Gpu(40, 312.0),
    "a100": Gpu(80, 312.0),
    "l40s": Gpu(48, 362.0),
    "l40": Gpu(48, 181.0),
    "l4": Gpu(24, 121.0),
    "a40": Gpu(48, 149.7),
    "a10": Gpu(24, 125.0),
    "rtx-6000-ada": Gpu(48, 364.2),
    "a6000": Gpu(48, 154.8),
    "rtx-4090": Gpu(24, 165.2),
    "rtx-3090": Gpu(24, 71.0),
    "mi300x": Gpu(192, 1307.0),
}


def gpu_of_device(name: str) -> Gpu | None:
    """The GPU that a driver calls `name`, e.g. "NVIDIA H100 80GB HBM3"; None where it is not known."""
    words = name.lower().replace("-", " ").split()
    joined = ["-".join(words[i : i + length]) for length in (1, 2, 3) for i in range(len(words))]
    return next((gpu for known, gpu in GPUS.items() if known in joined), None)
