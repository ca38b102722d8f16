"""
Can a field be completed from a fifth of its values?
====================================================

A field on a grid of 30 × 30 × 30 points is known at 20 % of them. A train of low rank is fitted to these, once by
alternating least squares and once by steps in the tangent space of the trains of these ranks.
"""

# %%
# Two vortices that drift and fade: a smooth function of two coordinates and of time.
import matplotlib.pyplot as plt
import torch

import tensortrain as tt

x = torch.linspace(-2, 2, 30, dtype=torch.float64)[:, None, None]
y = torch.linspace(-2, 2, 30, dtype=torch.float64)[:, None]
t = torch.linspace(0, 1, 30, dtype=torch.float64)
left = torch.exp(-((x + 1 - 0.8 * t) ** 2) - y**2)
right = torch.exp(-((x - 1 + 0.8 * t) ** 2) - (y - 0.8) ** 2)
field = (left - right) * torch.cos(2 * t)

# %%
# 5,400 of its 27,000 values are observed. Some others are kept aside to measure the error.
places = torch.randperm(field.numel(), generator=torch.Generator().manual_seed(0))[:8000]
indices = torch.stack(torch.unravel_index(places, field.shape), 1)
values = field[indices.unbind(1)]
known, aside = slice(0, 5400), slice(5400, None)


def error(train: tt.TensorTrain) -> float:
    """Relative error at the places that were kept aside."""
    difference = train[indices[aside].unbind(1)] - values[aside]
    return float(difference.norm() / values[aside].norm())


# %%
# Alternating least squares takes indices and values.
fitted = tt.TensorTrain.fit(indices[known], values[known], ranks=4, sweeps=40)
print(f"least squares: {fitted.n_parameters} parameters, error {fitted.error:.1e}, aside {error(fitted):.1e}")

# %%
# The same by gradients: the loss reads the observed entries, and each step keeps the ranks 4. You can use any other
# loss of a train.
where = indices[known].unbind(1)


def loss(train: tt.TensorTrain) -> torch.Tensor:
    """Half the mean squared error at the observed places."""
    return (train[where] - values[known]).square().mean() / 2


train = tt.TensorTrain.random(field.shape, 4, dtype=torch.float64) / 10
errors, rate = [error(train)], 1e4
for _ in range(80):
    train, value, rate = tt.tangent.step(loss, train, 2 * rate)
    errors.append(error(train))
print(f"tangent space: loss {value:.1e}, aside {errors[-1]:.1e}")

# %%
# One moment of the field, what is known of it, and both completions.
moment = 9
observed = torch.full(field.shape, torch.nan, dtype=torch.float64)
observed[where] = values[known]
pictures = {
    "field": field[..., moment],
    "known at this moment": observed[..., moment],
    "least squares": fitted[..., moment].reconstruct(),
    "tangent space": train[..., moment].reconstruct(),
}
plt.style.use("tensortrain.figures")
figure, axes = plt.subplots(1, 5, figsize=(12, 2.6), width_ratios=[1, 1, 1, 1, 1.3])
for axis, (name, picture) in zip(axes, pictures.items(), strict=False):
    axis.imshow(picture, cmap="RdBu", vmin=-0.8, vmax=0.8)
    axis.set(title=name, xticks=[], yticks=[])
axes[4].semilogy(errors, label="tangent space")
axes[4].axhline(error(fitted), color="C1", label="least squares")
axes[4].set(title="error at places kept aside", xlabel="steps")
axes[4].legend()
