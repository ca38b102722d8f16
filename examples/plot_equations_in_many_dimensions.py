"""
How can we solve equations that are too large for any memory?
=============================================================

The examples are Poisson's equation on a grid in eight dimensions, and the ground state of a chain of forty spins. Their
matrices are far too large to be stored, but they are TT-matrices of ranks 2 and 3.
"""

# %%
# The discrete Laplacian in eight dimensions of 16 points is a sum of Kronecker products; each is one call of `kron`.
import matplotlib.pyplot as plt
import torch

import tensortrain as tt

points, order = 16, 8
beside = torch.ones(points - 1, dtype=torch.float64)
second = 2 * torch.eye(points, dtype=torch.float64) - beside.diag(1) - beside.diag(-1)
one_axis = tt.TensorTrainMatrix([second[None, ..., None]])


def along(axis: int) -> tt.TensorTrainMatrix:
    """The second difference along one axis."""
    before = tt.TensorTrainMatrix.eye((points,) * axis, torch.float64).kron(one_axis) if axis else one_axis
    after = order - axis - 1
    return before.kron(tt.TensorTrainMatrix.eye((points,) * after, torch.float64)) if after else before


laplacian = along(0)
for axis in range(1, order):
    laplacian = laplacian + along(axis)
laplacian = laplacian.round(rtol=1e-12)
print(laplacian)

# %%
# With a constant source the solution has small ranks. The residual is measured, not estimated.
source = tt.TensorTrain([torch.ones(1, points, 1, dtype=torch.float64)] * order)
solution = tt.solve(laplacian, source, 1e-8)
print(f"residual {solution.residual:.1e} after {solution.sweeps} sweeps, ranks {solution.train.ranks}")

# %%
# Forty spins in a transverse field have 2⁴⁰ states. Below the critical field, which is 1, they are ordered. The exact
# energy of the open chain is known: it is that of free fermions.
x = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
z, one, zero = (
    torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64)),
    torch.eye(2).double(),
    torch.zeros(2, 2).double(),
)
spins = 40
fields, energies, exact = [0.25, 0.5, 0.75, 1.0, 1.25, 1.5], [], []
for field in fields:
    rows = [[one, -z, -field * x], [zero, zero, z], [zero, zero, one]]
    core = torch.stack([torch.stack(row, -1) for row in rows])
    energy = tt.TensorTrainMatrix([core[:1], *[core] * (spins - 2), core[..., 2:]])
    pair = tt.lowest_eigenpair(energy, 1e-4)
    energies.append(float(pair.value) / spins)
    hops = torch.diag(torch.full((spins,), field)) + torch.ones(spins - 1).diag(1)
    exact.append(-float(torch.linalg.svdvals(hops.double()).sum()) / spins)
    print(f"field {field}: {energies[-1]:.8f} (exact {exact[-1]:.8f}), largest rank {max(pair.train.ranks)}")

# %%
# Left, the middle plane of the solution of Poisson's equation; right, the energy of the spins.
middle = (slice(None), slice(None), *[points // 2] * (order - 2))
plt.style.use("tensortrain.figures")
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4))
picture = left.imshow(solution.train[middle].reconstruct(), cmap="viridis")
figure.colorbar(picture, ax=left)
left.set_title("a plane through 8 dimensions")
left.set_xticks([])
left.set_yticks([])
right.plot(fields, exact, color="gray", label="free fermions")
right.plot(fields, energies, "o", label="lowest_eigenpair")
right.axvline(1, color="gray", linestyle=":")
right.set_xlabel("field")
right.set_ylabel("lowest energy for each of 40 spins")
right.legend()
