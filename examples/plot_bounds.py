"""
How far from the best possible is a decomposition?
==================================================

Every decomposition of a kernel has a lower bound: no chain with these core sizes and ranks has a smaller error. Here a
kernel of oriented filters is decomposed with growing ranks, and the lower bound is drawn below the error.
"""

# %%
# Sixteen oriented 5×5 filters for each of eight inputs, with a little noise.
import math

import matplotlib.pyplot as plt
import torch

import tensortrain as tt

torch.manual_seed(0)
y, x = torch.meshgrid(torch.arange(-2.0, 3.0), torch.arange(-2.0, 3.0), indexing="ij")
angles = torch.arange(16) * math.pi / 16
across = -x * angles.sin()[:, None, None] + y * angles.cos()[:, None, None]
filters = torch.exp(-(x**2 + y**2) / 4) * torch.sin(1.5 * across)
kernel = torch.einsum("oyx,oi->oiyx", filters, torch.randn(16, 8)).double()
kernel += 0.02 * torch.randn_like(kernel)

# %%
# Chains of two 3×3 cores, of rank 1, 2, 4, … The lower bound comes from singular values of the kernel's Fourier
# transform.
ranks = [1, 2, 4, 8, 16, 24]
chains = [tt.ConvTensorTrain.decompose(kernel, (3, 3), ranks=rank) for rank in ranks]
separable = [tt.ConvTensorTrain.decompose(kernel, "separable", ranks=rank) for rank in ranks]
for rank, chain in zip(ranks, chains, strict=True):
    print(f"rank {rank:2}: {chain.lower_bound:.4f} ≤ {chain.error:.4f} with {chain.n_parameters:5} parameters")

# %%
# The error of the best chain of two 3×3 cores is between the two lines. For separable chains both lines are the same,
# because their closed form is optimal.
plt.style.use("tensortrain.figures")
figure, axes = plt.subplots()
for form, results in (("3×3 | 3×3", chains), ("5×1 | 1×5", separable)):
    (line,) = axes.plot(ranks, [chain.error for chain in results], marker="o", label=f"error, {form}")
    bounds = [chain.lower_bound for chain in results]
    axes.plot(ranks, bounds, "--", color=line.get_color(), label=f"no chain is below, {form}")
axes.set(xlabel="rank", ylabel="relative error", ylim=(0, None), title="Errors and lower bounds")
axes.legend()
