"""Attention on a CPU, written out against fused: `python benchmarks/bench_attention.py`.

Prints, for each precision and number of tokens, the median over interleaved rounds of the time of forward and backward
of one layer (64 clips, 4 heads of 32 channels), and the ratio fused / written out.
"""

import statistics
import time

import torch
import torch.nn.functional as F

from vjepa.models.layers import written_out_attention

CLIPS, HEADS, CHANNELS, ROUNDS = 64, 4, 32, 7


def seconds(attention, tensors: list[torch.Tensor]) -> float:
    started = time.perf_counter()
    attention(*tensors).sum().backward()
    return time.perf_counter() - started


def main() -> None:
    print("precision  tokens  written out ms  fused ms  ratio")
    for dtype in (torch.bfloat16, torch.float32):
        for tokens in (48, 100, 256, 512):
            shape = (CLIPS, HEADS, tokens, CHANNELS)
            tensors = [torch.randn(shape, dtype=dtype, requires_grad=True) for _ in range(3)]
            pairs = [
                (seconds(written_out_attention, tensors), seconds(F.scaled_dot_product_attention, tensors))
                for _ in range(ROUNDS + 1)
            ][1:]
            ours, fused = (1000 * statistics.median(side) for side in zip(*pairs, strict=True))
            ratio = statistics.median(fused / ours for ours, fused in pairs)
            name = str(dtype).removeprefix("torch.")
            print(f"{name:<9}  {tokens:>6}  {ours:>14.1f}  {fused:>8.1f}  {ratio:>5.2f}", flush=True)


if __name__ == "__main__":
    main()
