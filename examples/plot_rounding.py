"""
What happens to the ranks when trains are added and rounded?
============================================================

The ranks of a sum are the sums of the ranks, and those of a product are the products. Rounding finds small ranks that
keep the error below a tolerance. The example is a sum of waves; a single wave has ranks 2, for any frequency.
"""

# %%
# A wave on a grid of 32 × 32 × 32 × 32 points is sin(a + b + c + d), a train of ranks 2.
import matplotlib.pyplot as plt
import torch

import tensortrain as tt

grid = torch.linspace(0, 1, 32, dtype=torch.float64)


def wave(frequency: float) -> tt.TensorTrain:
    """The train of sin(frequency · (x₁ + x₂ + x₃ + x₄)), from its cores: products of 2×2 rotations."""
    cos, sin = torch.cos(frequency * grid), torch.sin(frequency * grid)
    rotation = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)])  # (2, 32, 2)
    first = torch.stack([cos, sin], -1)[None]  # (1, 32, 2)
    last = torch.stack([sin, cos], 0)[:, :, None]  # (2, 32, 1)
    return tt.TensorTrain([first, rotation, rotation, last])


points = torch.tensor([3, 30, 11, 7])
single = wave(5.0)
print(float(single[3, 30, 11, 7]), float(torch.sin(5.0 * grid[points].sum())))

# %%
# The sum of n waves has ranks 2n before rounding.
counts = list(range(1, 13))
total, sums = None, []
for n in counts:
    total = wave(float(n)) if total is None else total + wave(float(n))
    sums.append(total)
print([train.ranks[2] for train in sums])

# %%
# Waves of neighbouring frequencies are nearly linearly dependent, so rounding to 1e-3 gives much smaller ranks.
plt.style.use("tensortrain.figures")
figure, axes = plt.subplots()
axes.plot(counts, [train.ranks[2] for train in sums], marker="o", label="as added")
for rtol in (1e-10, 1e-3, 1e-1):
    rounded = [train.round(rtol=rtol) for train in sums]
    axes.plot(counts, [train.ranks[2] for train in rounded], marker="o", label=f"rounded to {rtol:g}")
axes.set(xlabel="waves in the sum", ylabel="rank in the middle", title="Ranks of a sum of waves")
axes.legend()
