"""A campaign over derivatives: every quantity, by every transformation, in every dtype, against finite differences.

    python tests/campaigns/derivatives.py --seconds 120 --seed 0

A case is a train or a tensor x and a direction v, both random; f is a real function of a quantity that does not
depend on the gauge. First and second derivatives of f(x + t v) at t = 0, from each transformation, are compared
with finite differences in double precision. Inputs are generic, exactly of low rank, with equal kept singular
values, or sums with redundant ranks. The program prints a table and fails if any value disagrees.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad, jvp, vmap

from tensortrain import TensorTrain

Function = Callable[[Tensor], Tensor]

DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)
WIDE = {torch.float32: torch.float64, torch.complex64: torch.complex128}
TOLERANCE = {torch.float32: 2e-2, torch.complex64: 2e-2, torch.float64: 1e-5, torch.complex128: 1e-5}
KINDS = ("generic", "low rank", "equal kept values", "redundant sum")
SHAPE, RANK = (3, 4, 3), 2


@dataclass
class Row:
    """One line of the table."""

    quantity: str
    transformation: str
    dtype: torch.dtype
    tried: int = 0
    agreed: int = 0
    worst: float = 0.0


def train_of(x: Tensor) -> TensorTrain:
    """A train whose cores are pieces of the vector `x`: of rank 2, or the sum of two such trains."""
    triples = [(1, SHAPE[0], RANK), (RANK, SHAPE[1], RANK), (RANK, SHAPE[2], 1)]
    sizes = [a * n * b for a, n, b in triples]
    pieces = x.split(sizes * (len(x) // sum(sizes)))
    cores = [piece.reshape(triple) for piece, triple in zip(pieces, triples * 2, strict=False)]
    train = TensorTrain(cores[:3])
    return train if len(cores) == 3 else train + TensorTrain(cores[3:])


QUANTITIES: dict[str, Function] = {
    "decompose, all entries": lambda x: TensorTrain.decompose(x.reshape(SHAPE), ranks=RANK).reconstruct(),
    "decompose, one entry": lambda x: TensorTrain.decompose(x.reshape(SHAPE), ranks=(1, RANK))[1, 2, 0],
    "decompose, norm": lambda x: TensorTrain.decompose(x.reshape(SHAPE), ranks=RANK).norm(),
    "round, all entries": lambda x: train_of(x).round(ranks=RANK).reconstruct(),
    "round, one entry": lambda x: train_of(x).round(ranks=(1, RANK))[1, 2, 0],
    "round, norm": lambda x: train_of(x).round(ranks=1).norm(),
    "orthogonalize, all entries": lambda x: train_of(x).orthogonalize(1).reconstruct(),
    "norm": lambda x: train_of(x).norm(),
}


def along(direction: Tensor, gradient: Tensor) -> Tensor:
    """The derivative along a direction from a gradient, in torch's convention for complex numbers."""
    return (gradient.conj() * direction).sum().real


def reverse(f: Function, x: Tensor, v: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return along(v, torch.autograd.grad(f(x), x)[0])


def reverse_twice(f: Function, x: Tensor, v: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    first = along(v, torch.autograd.grad(f(x), x, create_graph=True)[0])
    return along(v, torch.autograd.grad(first, x)[0])


def forward(f: Function, x: Tensor, v: Tensor) -> Tensor:
    return jvp(f, (x,), (v,))[1]


FIRST: dict[str, Callable[[Function, Tensor, Tensor], Tensor]] = {
    "reverse": reverse,
    "forward": forward,
    "vmap of reverse": lambda f, x, v: along(v, vmap(grad(f))(torch.stack([x, 0.9 * x]))[0]),
}
SECOND: dict[str, Callable[[Function, Tensor, Tensor], Tensor]] = {
    "reverse of reverse": reverse_twice,
    "forward of reverse": lambda f, x, v: along(v, forward(grad(f), x, v)),
    "reverse of forward": lambda f, x, v: along(v, grad(lambda y: forward(f, y, v))(x)),
    "forward of forward": lambda f, x, v: forward(lambda y: forward(f, y, v), x, v),
    "vmap of forward of reverse": lambda f, x, v: along(
        v, vmap(lambda y: forward(grad(f), y, v))(torch.stack([x, 0.9 * x]))[0]
    ),
}


def point(kind: str, quantity: str, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """An input of one kind, a vector in double precision whose numbers `dtype` can hold."""
    wide = WIDE.get(dtype, dtype)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=wide, generator=generator)

    cores = [normal(n) for n in (SHAPE[0] * RANK, RANK * SHAPE[1] * RANK, RANK * SHAPE[2])]
    if kind == "equal kept values":  # e_1 ⊗ a ⊗ e_1 + e_2 ⊗ a ⊗ e_2: both singular values of every bond are equal
        eye = torch.eye(3, dtype=wide)
        cores = [eye[:, :2].flatten(), torch.einsum("ab,i->aib", eye[:2, :2], normal(4)).flatten(), eye[:2].flatten()]
    x = torch.cat(cores)
    if kind == "redundant sum" and not quantity.startswith(("decompose", "orthogonalize")):
        x = torch.cat([x, *(core * scale for core, scale in zip(cores, (2.0, 1.0, 1.0), strict=True))])
    if quantity.startswith("decompose"):
        x = train_of(x).reconstruct().flatten()
        if kind == "generic":
            x = x + 0.2 * normal(len(x)) * x.abs().mean()
    return x.to(dtype).to(wide)


def gap(x: Tensor, quantity: str) -> float:
    """The smallest relative gap that the quantity divides by; derivatives in single precision need a good one."""
    dense = (x.reshape(SHAPE) if quantity.startswith("decompose") else train_of(x).reconstruct()).reshape(SHAPE)
    gaps = []
    for l in (1, 2):
        values = torch.linalg.svdvals(dense.flatten(0, l - 1).flatten(1))
        for rank in (1, RANK):
            if quantity not in ("norm", "orthogonalize, all entries"):
                gaps.append(float((values[rank - 1] - values[rank]) / values[0]))
        gaps.append(float(values[RANK - 1] / values[0]))
    return min(gaps)


def one_case(
    rows: dict[tuple[str, str, torch.dtype], Row], quantity: str, dtype: torch.dtype, kind: str, seed: int
) -> bool:
    """Compare all transformations at one point; False if the point has no good gap."""
    generator = torch.Generator().manual_seed(seed)
    x = point(kind, quantity, dtype, generator)
    ranks_differ = quantity.endswith("one entry") or quantity == "round, norm"
    if (kind == "equal kept values" and ranks_differ) or (kind != "equal kept values" and gap(x, quantity) < 0.05):
        return False
    v = torch.randn(len(x), dtype=x.dtype, generator=generator)
    v = (v / v.norm() * x.norm()).to(dtype).to(x.dtype)
    with torch.no_grad():
        value = QUANTITIES[quantity](x)
    weight = torch.randn(value.shape, dtype=value.dtype, generator=generator) / value.norm()

    def f(y: Tensor) -> Tensor:
        result = QUANTITIES[quantity](y)
        part = (weight.to(result.dtype) * result).real
        return part.sum() + part.square().sum()

    h = 1e-3
    steps = {k: reverse(f, x + k * h * v, v) for k in (-2, -1, 1, 2)}
    values = {k: f(x + k * h * v) for k in (-2, -1, 1, 2)}

    def difference(samples: dict[int, Tensor]) -> float:
        return float(8 * (samples[1] - samples[-1]) - (samples[2] - samples[-2])) / (12 * h)

    references = (difference(values), difference(steps))
    for transformations, reference in zip((FIRST, SECOND), references, strict=True):
        for name, transformation in transformations.items():
            row = rows.setdefault((quantity, name, dtype), Row(quantity, name, dtype))
            result = float(transformation(f, x.to(dtype), v.to(dtype)))
            deviation = abs(result - reference) / (1 + abs(references[0]) + abs(references[1]))
            row.tried += 1
            row.agreed += deviation <= TOLERANCE[dtype]
            row.worst = max(row.worst, deviation)
    return True


def run(seed: int, seconds: float, rounds: int) -> list[Row]:
    """Cases of every quantity, dtype and kind, until `rounds` of each or the time is used up."""
    rows: dict[tuple[str, str, torch.dtype], Row] = {}
    end = time.monotonic() + seconds
    for number in range(rounds):
        for quantity in QUANTITIES:
            for dtype in DTYPES:
                for kind in KINDS:
                    tries = (seed + 7919 * number + 104729 * k for k in range(20))
                    if time.monotonic() < end:
                        any(one_case(rows, quantity, dtype, kind, attempt) for attempt in tries)
    return list(rows.values())


def table(rows: list[Row]) -> str:
    """The rows as text."""
    lines = [f"{'quantity':<28}{'transformation':<28}{'dtype':<12}{'tried':>6}{'agreed':>8}  worst deviation"]
    for row in rows:
        name = str(row.dtype).removeprefix("torch.")
        lines.append(
            f"{row.quantity:<28}{row.transformation:<28}{name:<12}{row.tried:>6}{row.agreed:>8}  {row.worst:.1e}"
        )
    tried, agreed = (sum(getattr(row, name) for row in rows) for name in ("tried", "agreed"))
    return "\n".join([*lines, f"{agreed} of {tried} derivatives agree with finite differences"])


def main() -> int:
    """Run the campaign and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the random inputs")
    parser.add_argument("--seconds", type=float, default=120.0, help="time after which no new case begins")
    parser.add_argument("--rounds", type=int, default=1000, help="cases of each quantity, dtype and kind")
    options = parser.parse_args()
    rows = run(options.seed, options.seconds, options.rounds)
    print(table(rows))
    return int(any(row.agreed < row.tried for row in rows))


if __name__ == "__main__":
    sys.exit(main())
