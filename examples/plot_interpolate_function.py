"""
How many values of a function does a train need?
================================================

First, a function of two variables is interpolated from the rows and columns through a few grid points, the *pivots*.
Then the same is done for a function of twenty variables, whose tensor has more entries than a computer can store.
"""

# %%
# Two variables first. With a tolerance of 3 %, the function is evaluated at the rows and columns of a few pivots and
# some others that were tried; everything else is interpolated.
import matplotlib.pyplot as plt
import torch

import tensortrain as tt

points = torch.linspace(-3, 3, 500, dtype=torch.float64)
asked = torch.zeros(500, 500, dtype=torch.bool)


def bumps(indices: torch.Tensor) -> torch.Tensor:
    """The function at indices `(B, 2)` of the grid."""
    if len(indices) < 5000:  # the last batch is the check at fresh points
        asked[indices[:, 0], indices[:, 1]] = True
    x, y = points[indices[:, 0]], points[indices[:, 1]]
    return torch.exp(-((x - y) ** 2) / 4) * torch.cos(2 * x) + torch.exp(-((x + 1) ** 2) - (y - 1) ** 2)


train, report = tt.interpolate(bumps, (500, 500), rtol=3e-2, fresh_points=5000)
print(train)
print(report)

# %%
# Twenty variables of sixteen points each: 16²⁰ entries. The tolerance decides on the ranks and on the number of values.
evaluations, errors, ranks = [], [], []
for rtol in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6):
    train_20, report_20 = tt.interpolate(lambda i: 1 / (10.0 + i.sum(1).double()), (16,) * 20, rtol=rtol)
    evaluations.append(report_20.evaluations)
    errors.append(report_20.epsilon / report_20.largest)
    ranks.append(max(train_20.ranks))
    print(f"rtol {rtol:.0e}: rank {ranks[-1]}, {report_20}")

# %%
# Left: the interpolated function; the entries that were computed are white. Right: the cost for twenty variables.
plt.style.use("tensortrain.figures")
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4))
limit = float(train.reconstruct().abs().max())
left.imshow(train.reconstruct(), cmap="RdBu", vmin=-limit, vmax=limit)
left.imshow(torch.where(asked, 1.0, torch.nan), cmap="gray", vmin=0, vmax=1, alpha=0.8)
left.set_title(f"{float(asked.double().mean()):.0%} of the entries, rank {max(train.ranks)}")
left.set_xticks([])
left.set_yticks([])
right.loglog(evaluations, errors, "o-")
for n, error, rank in zip(evaluations, errors, ranks, strict=True):
    right.annotate(f" rank {rank}", (n, error))
right.set_xlabel("evaluations, of 16²⁰ entries")
right.set_ylabel("largest error at 1000 fresh points")
right.margins(x=0.2)
