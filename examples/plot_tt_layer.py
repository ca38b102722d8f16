"""
What does a tensor-train linear layer learn?
============================================

A linear layer whose weight is a TT-matrix has few parameters. Here such layers learn a map that is a sum of two
Kronecker products, and so has TT-rank 2. A layer of rank 1 cannot learn it, rank 2 can, and larger ranks do not help.
"""

# %%
# A 64×64 map from 8·8 to 8·8 modes.
import matplotlib.pyplot as plt
import torch
from torch import nn

import tensortrain as tt

torch.manual_seed(0)
target = sum(torch.kron(torch.randn(8, 8), torch.randn(8, 8)) for _ in range(2)) / 64
inputs = torch.randn(2048, 64)
outputs = inputs @ target.T

# %%
# A `TTLinear` layer is trained like any other layer.
losses = {}
for rank in (1, 2, 4):
    layer = tt.nn.TTLinear.from_linear(nn.Linear(64, 64, bias=False), (8, 8), (8, 8), ranks=rank)
    optimizer = torch.optim.Adam(layer.parameters(), 2e-2)
    losses[rank] = []
    for _ in range(300):
        loss = nn.functional.mse_loss(layer(inputs), outputs) / outputs.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses[rank].append(float(loss.detach()))
    parameters = sum(p.numel() for p in layer.parameters())
    print(f"rank {rank}: {parameters} of 4096 parameters, relative error {losses[rank][-1]:.1e}")

# %%
plt.style.use("tensortrain.figures")
figure, axes = plt.subplots()
for rank, values in losses.items():
    axes.semilogy(values, label=f"rank {rank}")
axes.set(xlabel="step", ylabel="relative squared error", title="Learning a map of TT-rank 2")
axes.legend()
