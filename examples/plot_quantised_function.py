"""
How many numbers does a function on a fine grid need?
=====================================================

On a grid of 2¹⁴ points, every index has fourteen binary digits. A function of one variable can be written as a train
with one axis for each digit. If it is smooth or has few features, it needs only tens or hundreds of numbers.
"""

# %%
# Five functions on the grid, each decomposed to a relative error of 1e-6.
import matplotlib.pyplot as plt
import torch

import tensortrain as tt

x = torch.linspace(0, 1, 2**14, dtype=torch.float64)
functions = {
    "exp(−3x)": torch.exp(-3 * x),
    "sin(40x)·exp(−3x)": torch.sin(40 * x) * torch.exp(-3 * x),
    "chirp sin(30/(x + 0.1))": torch.sin(30 / (x + 0.1)),
    "√|x − 1/3|": (x - 1 / 3).abs().sqrt(),
    "noise": torch.randn(len(x), generator=torch.Generator().manual_seed(0), dtype=torch.float64),
}
trains = {name: tt.TensorTrain.quantize(values, rtol=1e-6) for name, values in functions.items()}
for name, train in trains.items():
    print(f"{name:25} largest rank {max(train.ranks):4}, {train.n_parameters:6} numbers of {len(x)}")

# %%
# The grid itself is a train of rank 2, for any number of points. So polynomials need no dense values: here is 4x(1 − x)
# on 2¹⁰⁰ points, and its largest entry with a bound that no entry exceeds.
grid = tt.TensorTrain.linspace(0, 1, (2,) * 100, torch.float64)
parabola = (4 * grid * (1 - grid)).round(rtol=1e-14)
top = parabola.largest()
position = sum(digit / 2 ** (n + 1) for n, digit in enumerate(top.position))
print(f"ranks up to {max(parabola.ranks)}; largest entry {top.value:.12f} at x = {position:.6f}, gap {top.gap:.1e}")

# %%
# Entries are selected by their digits, so we can zoom in without building the whole tensor.
shifts = torch.arange(13, -1, -1)


def entries(train: tt.TensorTrain, numbers: torch.Tensor) -> torch.Tensor:
    """Values at these positions of the grid."""
    digits = numbers[:, None].bitwise_right_shift(shifts).bitwise_and(1)
    return train[digits.unbind(1)]


plt.style.use("tensortrain.figures")
figure, axes = plt.subplots(1, 3, figsize=(12, 3))
chirp = trains["chirp sin(30/(x + 0.1))"]
for axis, width in zip(axes, (1.0, 0.06), strict=False):
    numbers = torch.linspace(0, width * (len(x) - 1), 600, dtype=torch.float64).long()
    axis.plot(numbers / len(x), entries(chirp, numbers))
    axis.set(xlabel="x", title=f"chirp, {chirp.n_parameters} numbers" if width == 1 else "the same, nearer")
for name, train in trains.items():
    axes[2].semilogy(range(1, 14), train.ranks[1:-1], marker=".", label=name)
axes[2].semilogy(range(1, 14), [2 ** min(b, 14 - b) for b in range(1, 14)], color="0.8", label="largest possible")
axes[2].set(xlabel="bond between digits", title="ranks", xticks=range(1, 14, 2))
axes[2].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
