"""What has been seen around a place so far: a recurrent convolution over a clip's tokens, frame after frame."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vjepa.grid import TokenGrid, gather_tokens, on_grid
from vjepa.masking import TubeMask

LEAST_SPREAD = 0.01  # of frames without contrast


class PastMemory(nn.Module):
    """A convolutional gated recurrent unit (Ballas et al. 2016, arXiv 1511.06432) that reads tubelets in order of time.

    Each step sees 3 x 3 places: the visible tokens of a tubelet of frames, how they changed since the one before, and
    which places are visible. So what moves is followed to the neighbouring places, and what is hidden for a while is
    kept. What is returned for a tubelet depends on earlier tubelets alone.

    Tokens are read relative to the mean and spread of the first visible tubelet of frames.

    Args:
        dim: width of the tokens.
        width: of the memory.
        out_dim: of what is returned.
    """

    def __init__(self, dim: int, width: int, out_dim: int):
        super().__init__()
        self.width = width
        self.read = nn.Sequential(nn.Conv2d(2 * dim + 1, width, 3, padding=1), nn.GELU())
        self.inputs = nn.Conv2d(width, 3 * width, 3, padding=1)
        self.gates = nn.Conv2d(width, 2 * width, 3, padding=1, bias=False)
        self.candidate = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.expect = nn.Sequential(
            nn.Conv2d(width + 2 * dim, 2 * width, 3, padding=1), nn.GELU(), nn.Conv2d(2 * width, out_dim, 1)
        )

    def forward(
        self,
        context: Float[Tensor, "B Nc dim"],  # of mask.context_ids
        mask: TubeMask,
        grid: TokenGrid,
    ) -> Float[Tensor, "B Nt out_dim"]:  # for mask.target_ids
        mean, spread = first_contrast(context, mask, grid)
        context = (context - mean) / spread
        tokens = on_grid(context, mask.context_ids, grid).permute(0, 1, 4, 2, 3)  # (B, T, dim, H, W)
        visible = on_grid(torch.ones_like(context[..., :1]), mask.context_ids, grid).permute(0, 1, 4, 2, 3)
        change = torch.zeros_like(tokens)
        change[:, 1:] = (tokens[:, 1:] - tokens[:, :-1]) * (visible[:, 1:] * visible[:, :-1])
        seen = torch.cat((tokens, change), dim=2)
        inputs = self.inputs(self.read(torch.cat((seen, visible), dim=2).flatten(0, 1))).unflatten(0, seen.shape[:2])
        memories = [inputs.new_zeros(len(inputs), self.width, grid.height, grid.width)]
        for of_frame in inputs[:, :-1].unbind(1):  # an index per frame would add up as many gradients of the whole
            memories.append(self._next(memories[-1], of_frame))
        before = torch.cat((torch.zeros_like(seen[:, :1]), seen[:, :-1]), dim=1)  # of the frame
        known = torch.cat((torch.stack(memories, dim=1), before), dim=2)
        expected = self.expect(known.flatten(0, 1)).flatten(2).transpose(1, 2)  # (B * T, H * W, dim)
        return gather_tokens(expected.reshape(len(tokens), grid.num_tokens, -1), mask.target_ids)

    def _next(self, memory: Float[Tensor, "B width H W"], inputs: Float[Tensor, "B three_widths H W"]) -> Tensor:
        of_gates, of_candidate = inputs.split([2 * self.width, self.width], dim=1)
        forget, update = (of_gates + self.gates(memory)).sigmoid().chunk(2, dim=1)
        candidate = (of_candidate + self.candidate(forget * memory)).tanh()
        return torch.lerp(memory, candidate, update)


def first_contrast(
    context: Float[Tensor, "B Nc dim"], mask: TubeMask, grid: TokenGrid
) -> tuple[Float[Tensor, "B 1 dim"], Float[Tensor, "B 1 1"]]:
    """Mean token of each clip's first visible tubelet of frames, and the root mean square of differences from it."""
    frame = mask.context_ids // (grid.height * grid.width)
    first = (frame == frame.amin(dim=1, keepdim=True)).unsqueeze(2).to(context.dtype)  # (B, Nc, 1)
    count = first.sum(dim=1, keepdim=True)
    mean = (first * context).sum(dim=1, keepdim=True) / count
    variance = (first * (context - mean)).square().mean(dim=2, keepdim=True).sum(dim=1, keepdim=True) / count
    return mean, variance.sqrt().clamp_min(LEAST_SPREAD)
