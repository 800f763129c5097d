"""What a step of V-JEPA 2 costs, counted on the meta device: `python benchmarks/step_cost.py [--size large ...]`.

24 clips of 16 x 256 x 256 and a usual batch of the released masks. The released step of ViT-L by the same counters,
without activation checkpointing: 17,272 operations, 3.630 TFLOP a clip.
"""

import argparse

import torch

from vjepa.models import SIZES, Predictor, VideoEncoder
from vjepa.training import JEPA
from vjepa.training.cost.step_cost import flops_of_step, meta_batch, operations_of_step

CLIPS, CLIP, TOKENS = 24, (16, 256, 256), ((504, 968), (136, 1440))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", nargs="+", choices=SIZES, default=["large"])
    batch = meta_batch(CLIPS, CLIP, TOKENS)
    print("size      operations  TFLOP a clip")
    for size in parser.parse_args().size:
        with torch.device("meta"):
            predictor = Predictor(encoder_dim=SIZES[size].embed_dim, position="rotary_tiled")
            model = JEPA(VideoEncoder(size=size, position="rotary_tiled"), predictor)
        operations = operations_of_step(model, batch).total()
        print(f"{size:<8}  {operations:>10}  {flops_of_step(model, batch) / CLIPS / 1e12:>12.3f}", flush=True)


if __name__ == "__main__":
    main()
