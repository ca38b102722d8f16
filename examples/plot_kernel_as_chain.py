"""
What does a convolution kernel look like as a chain?
====================================================

A 7×7 kernel with eight oriented filters is decomposed into three 3×3 cores, with smaller and smaller ranks. The filters
of the chains are drawn below the original ones.
"""

# %%
# A bank of eight oriented filters on one input channel, as in the first layer of a network.
import math

import matplotlib.pyplot as plt
import torch

import tensortrain as tt

torch.manual_seed(0)
y, x = torch.meshgrid(torch.arange(-3.0, 4.0), torch.arange(-3.0, 4.0), indexing="ij")
filters = []
for n in range(8):
    angle = math.pi * n / 8
    along = x * math.cos(angle) + y * math.sin(angle)
    across = -x * math.sin(angle) + y * math.cos(angle)
    filters.append(torch.exp(-(along**2) / 8 - across**2 / 1.5) * torch.cos(1.5 * across))
kernel = torch.stack(filters)[:, None].double()
print(kernel.shape)

# %%
# Three 3×3 cores make a 7×7 kernel. `ranks` are the numbers of channels between the cores. Smaller ranks give a larger
# error.
chains = [tt.ConvTensorTrain.decompose(kernel, (3, 3, 3), ranks=ranks) for ranks in ((8, 4), (4, 2), (2, 1))]
for chain in chains:
    print(f"ranks {chain.ranks}: {chain.n_parameters} of {chain.dense_parameters} parameters, error {chain.error:.3f}")

# %%
# The original filters are in the first row; below them are those of the chains.
rows = [kernel, *(chain.reconstruct() for chain in chains)]
names = ["original", *(f"ranks {chain.ranks[1:-1]}\nerror {chain.error:.2f}" for chain in chains)]
figure, axes = plt.subplots(len(rows), 8, figsize=(9, 5))
limit = float(kernel.abs().max())
for weights, name, line in zip(rows, names, axes, strict=True):
    for picture, axis in zip(weights[:, 0], line, strict=True):
        axis.imshow(picture, cmap="RdBu", vmin=-limit, vmax=limit)
        axis.set_xticks([])
        axis.set_yticks([])
    line[0].set_ylabel(name, rotation=0, ha="right", va="center")
figure.subplots_adjust(left=0.16, right=0.99, top=0.99, bottom=0.01)
