"""
How can we calculate with a tensor that is too large to store?
==============================================================

Trains can be added, multiplied, indexed, averaged and joined like tensors, and converted for other libraries.
"""

# %%
# A wave over a hill, on a grid of six axes with 100 points each. The tensor has 10¹² entries; its train needs about a
# thousand numbers. We build it from functions of one axis each.
import matplotlib.pyplot as plt
import numpy as np
import torch

import tensortrain as tt

shape = (100,) * 6
grid = torch.linspace(-1, 1, 100, dtype=torch.float64)


def along(values: torch.Tensor, axis: int) -> tt.TensorTrain:
    """The tensor that depends on one coordinate alone."""
    return tt.TensorTrain.along(values, shape, axis)


hill = along(torch.exp(-4 * grid**2), 0)
for axis in range(1, 6):
    hill = hill * along(torch.exp(-4 * grid**2), axis)
wave = along(torch.sin(9 * grid), 0) * along(torch.cos(9 * grid), 1)
wave = wave + along(torch.cos(9 * grid), 0) * along(torch.sin(9 * grid), 1)
field = (hill * (2 + wave)).round(rtol=1e-12)
print(field)

# %%
# Entries, slices, means and powers are those of the tensor. The variance of all 10¹² entries needs no sample.
print("one entry:", float(field[50, 50, 50, 50, 50, 50]))
print("some entries:", field[torch.tensor([10, 20]), torch.tensor([30, 40]), 50, 50, 50, 50])
mean = field.mean()
print("mean and standard deviation:", float(mean), float(((field - mean) ** 2).mean().sqrt()))
print("largest entry, and a bound on all others:", field.largest())

# %%
# Other libraries use the same cores, here as NumPy arrays. `from_foreign` recognises their form.
arrays = field.to_arrays()
print([array.shape for array in arrays])
back = tt.TensorTrain.from_foreign(arrays)
print("way there and back:", float((back - field).norm() / field.norm()))

# %%
# A slice through the middle, and the mean over the last four axes. Both have two axes.
plt.style.use("tensortrain.figures")
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4))
left.imshow(np.asarray(field[:, :, 50, 50, 50, 50]), extent=(-1, 1, -1, 1))
left.set_title("a slice")
right.imshow(np.asarray(field.mean((2, 3, 4, 5))), extent=(-1, 1, -1, 1))
right.set_title("the mean over four axes")
for axes in (left, right):
    axes.grid(False)
