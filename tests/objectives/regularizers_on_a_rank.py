"""One of two ranks of test_regularizers.py: `python regularizers_on_a_rank.py RANK FOLDER` leaves rankRANK.pt there."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

from test_regularizers import STEP, regularizers, tokens_of

from vjepa.objectives import Projector


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    projector = Projector(4, 8, 3)
    projector.load_state_dict(torch.load(folder / "projector.pt", weights_only=True))
    results = {}
    for name, regularizer in regularizers(projector).items():
        projector.zero_grad()
        own = [part.detach().chunk(2)[rank] for part in tokens_of(8)]
        value = regularizer(*own, STEP)
        value.loss.backward()
        gradients = [parameter.grad.clone() for parameter in projector.parameters()]
        results[name] = {"terms": torch.stack(list(value.parts.values())).detach(), "gradients": gradients}
    torch.save(results, folder / f"rank{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
