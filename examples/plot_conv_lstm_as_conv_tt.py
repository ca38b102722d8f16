"""
Is a ConvLSTM with a chain a Conv-TT-LSTM?
==========================================

The hidden kernel of a ConvLSTM cell is decomposed into a chain of two cores. A cell that computes with this chain is a
Conv-TT-LSTM cell of order 1. The inner core maps the hidden state to its window, and the outer one is the core at the
gates.
"""

# %%
# A cell with a 5×5 hidden kernel, smooth over space as trained ones are.
import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

import tensortrain as tt
from zoo.cells import ConvLSTMCell, ConvTTLSTMCell

torch.manual_seed(0)
cell = ConvLSTMCell(inputs=2, hidden=8, kernel=5)
bump = torch.exp(-torch.linspace(-1.5, 1.5, 5).square())
with torch.no_grad():
    cell.from_h.weight.mul_(2 * bump[:, None] * bump)
frames = torch.randn(8, 4, 2, 16, 16)  # steps, batch, channels, rows, columns


def outputs(cell: ConvLSTMCell | ConvTTLSTMCell) -> Tensor:
    """What a cell returns for all frames."""
    with torch.no_grad():
        return cell.run(frames, cell.initial_state(4, (16, 16)))[0]


class Chain(nn.Module):
    """A chain in place of the hidden kernel, padded at each of its cores as the published network is."""

    def __init__(self, chain: tt.ConvTensorTrain) -> None:
        super().__init__()
        self.chain = chain

    def forward(self, h: Tensor) -> Tensor:
        """The chain's output for a hidden state."""
        return self.chain.evaluate(h, padding="same_per_step")


# %%
# For each rank: the ConvLSTM with a chain in it, and a Conv-TT-LSTM cell that is given the cores as its weights.
dense, kernel = outputs(cell), cell.from_h
changes = {}
for rank in (2, 4, 8):
    chain = tt.ConvTensorTrain.decompose(kernel.weight.detach(), (3, 3), ranks=rank, progress=False)
    cell.from_h = Chain(chain)
    with_chain = outputs(cell)

    tt_cell = ConvTTLSTMCell(inputs=2, hidden=8, kernel=3, order=1, steps=1, rank=rank)
    tt_cell.from_x = cell.from_x
    with torch.no_grad():
        tt_cell.gate_core.weight.copy_(chain.cores[0])
        tt_cell.windows.weight.copy_(chain.cores[1])
    torch.testing.assert_close(outputs(tt_cell), with_chain)  # equal up to rounding

    changes[rank] = (with_chain - dense).flatten(1).norm(dim=1) / dense.flatten(1).norm(dim=1)
    kept = chain.n_parameters / kernel.weight.numel()
    print(f"rank {rank}: {kept:.0%} of the kernel; both cells differ from the ConvLSTM by {changes[rank][-1]:.4f}")

# %%
# The difference between the dense cell and the chain returns through the state, and stays bounded. A part of it arises
# at the border: the chain also pads the map between its cores, while the dense kernel pads only its input.
plt.style.use("tensortrain.figures")
figure, axes = plt.subplots()
for rank, change in changes.items():
    axes.plot(range(1, 9), change, marker="o", label=f"rank {rank}")
axes.set(xlabel="step", ylabel="relative change of the output", title="A ConvLSTM as a Conv-TT-LSTM of order 1", ylim=0)
axes.legend()
