"""
Can we draw from a density that is a train?
===========================================

A train without negative entries is a density on a grid. `sample` draws one coordinate after the other, each from its
exact distribution given the coordinates before it. The samples are independent, and no Markov chain is needed.
"""

# %%
# A spiral in the plane, as a train of two axes, and its ranks.
import matplotlib.pyplot as plt
import torch

import tensortrain as tt

side = 100
axis = torch.linspace(-1, 1, side, dtype=torch.float64)
x, y = torch.meshgrid(axis, axis, indexing="ij")
radius, angle = torch.hypot(x, y), torch.atan2(y, x)
turns = (4 * radius - angle / torch.pi) % 2 - 1
density = torch.exp(-30 * turns**2) * torch.exp(-2 * radius**2) * (radius < 0.95)
train = tt.TensorTrain.decompose(density.sqrt(), rtol=0.05)
print(f"ranks {train.ranks}, {train.n_parameters} numbers of {density.numel()}")

# %%
# The square of a train is never negative. So we use the train of the square root, with `density="square"`.
samples = train.sample(20_000, density="square", seed=0)
print(samples.indices[:3])

# %%
# The most probable place is where the train is largest. Here this is proved: the gap between that entry and a bound on
# all entries is 0.
peak = train.largest(width=2000)
print(f"most probable: {peak.position}, gap {peak.gap:.1g}")

# %%
# The density, the samples, and the samples counted.
plt.style.use("tensortrain.figures")
figure, axes = plt.subplots(1, 3, figsize=(10, 3.4))
axes[0].imshow((train**2).reconstruct().T, origin="lower", cmap="viridis")
axes[0].plot(*peak.position, marker="o", markersize=9, fillstyle="none", color="red")
axes[0].set(title="density, and its peak")
within = torch.rand(2, 4000, generator=torch.Generator().manual_seed(1))  # anywhere in the cell that was drawn
axes[1].scatter(*(samples.indices[:4000].T + within), s=1, linewidths=0)
axes[1].set(title="4,000 samples", aspect="equal", xlim=(0, side), ylim=(0, side))
counts = torch.zeros(side, side)
counts.index_put_(samples.indices.unbind(1), torch.ones(20_000), accumulate=True)
axes[2].imshow(counts.T, origin="lower", cmap="viridis")
axes[2].set(title="20,000 samples, counted")
for picture in axes:
    picture.set(xticks=[], yticks=[])
