"""What certificates claim, decided once more: by fractions, by definitions written out, and by no code of the checker.

`truth` computes the entries of composed kernels and of evaluations as sums over paths, and lower bounds from singular
values in 40 digits. It demands what a reader may demand of the form, too.
"""

import contextlib
import functools
import hashlib
import io
import itertools
import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import mpmath
from safetensors.torch import load_file
from torch import Tensor

import tensortrain_check

Kernel = dict[tuple[int, ...], dict[tuple[int, int], Fraction]]  # by position, output and input channel
LAYER = {"weight", "cores", "groups", "error", "bound", "evaluation"}
BOUND = {"at_least", "bond", "axes", "vectors"}
EVALUATION = {"tensors", "transposed", "error", "probe"}
NONE = "not certified"


def accepted(path: Path) -> str | None:
    """What the checker prints of a certificate that it accepts; None if it refuses it."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            tensortrain_check.main(path)
    except Exception:
        return None
    return printed.getvalue()


def truth(path: Path) -> bool:
    """Whether a certificate has the right form, is about the files beside it, and every claim in it is true."""
    document, unique = parsed(path.read_text())
    if not unique:
        return False
    if set(document) != {"format", "written_by", "files", "layers"} or not document["layers"]:
        return False
    if document["format"] != "tensortrain-certificate/1" or not isinstance(document["written_by"], str):
        return False
    files = [path.with_name(name) for name, _ in document["files"]]
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    if [digest for _, digest in document["files"]] != digests:
        return False
    tensors = [load_file(file) for file in files]
    return all(layer_is_true(layer, *tensors) for layer in document["layers"])


def parsed(text: str) -> tuple[dict[str, Any], bool]:
    """JSON, and whether it is without repeated keys, NaN and infinite numbers."""
    faults: list[str] = []

    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            faults.append("a repeated key")
        return dict(pairs)

    document = json.loads(text, object_pairs_hook=table, parse_constant=faults.append)
    return document, not faults


def layer_is_true(
    layer: dict[str, Any], stored: dict[str, Tensor], original: dict[str, Tensor], maps: dict[str, Tensor] | None = None
) -> bool:
    """Whether everything that is claimed of one layer is true."""
    if set(layer) != LAYER or not all(type(g) is int and g > 0 for g in layer["groups"]):
        return False
    weight = original[layer["weight"]]
    cores = [stored[name] for name in layer["cores"]]
    kernel = composed(cores, layer["groups"][1:])
    own = entries(weight, layer["groups"][0])
    if not between(layer["error"], own, kernel):
        return False
    if layer["bound"] != NONE:
        bound = layer["bound"]
        least = number(bound["at_least"])
        if set(bound) != BOUND or least is None:
            return False
        sizes = tuple(tuple(core.shape[2:]) for core in cores)
        ranks = tuple(core.shape[0] for core in cores)[1:]
        with mpmath.workdps(40):
            if rational(least) > best_bound(freeze(own), sizes, ranks) + mpmath.mpf(10) ** -30:
                return False
    if layer["evaluation"] == NONE:
        return True
    evaluation = layer["evaluation"]
    if set(evaluation) != EVALUATION or maps is None or evaluation["transposed"] not in (True, False):
        return False
    image, result = (maps[name] for name in evaluation["tensors"])
    exact = evaluated(kernel, image, evaluation["transposed"])
    return between(evaluation["error"], exact, entries(result, 1))


def number(text: object) -> Fraction | None:
    if not isinstance(text, str):
        return None
    value = float.fromhex(text)
    return Fraction(value) if math.isfinite(value) and value >= 0 else None


def between(ends: list[str], exact: Kernel, other: Kernel) -> bool:
    """Whether the relative distance of two arrays is in an interval."""
    low, high = map(number, ends)
    if low is None or high is None or low > high or flat(exact).keys() != flat(other).keys():
        return False
    a, b = flat(exact), flat(other)
    distance, norm = sum((a[key] - b[key]) ** 2 for key in a), sum(value**2 for value in a.values())
    return norm > 0 and low**2 <= distance / norm <= high**2


def flat(kernel: Kernel) -> dict[tuple[Any, ...], Fraction]:
    return {(c, *pair): value for c, matrix in kernel.items() for pair, value in matrix.items()}


def entries(weight: Tensor, groups: int) -> Kernel:
    """Every entry of a conv weight, those off its blocks zero."""
    rows, columns, *size = weight.shape
    assert rows % groups == 0
    kernel: Kernel = {}
    for c in itertools.product(*map(range, size)):
        matrix = {(s, t): Fraction(0) for s in range(rows) for t in range(columns * groups)}
        for s, t in itertools.product(range(rows), range(columns)):
            matrix[s, t + s // (rows // groups) * columns] = Fraction(weight[(s, t, *c)].item())
        kernel[c] = matrix
    return kernel


def composed(cores: list[Tensor], groups: list[int]) -> Kernel:
    """Σ over all positions and bonds of products of entries, one of each core."""
    factors = [entries(core, g) for core, g in zip(cores, groups, strict=True)]
    total = factors[0]
    for factor in factors[1:]:
        product: Kernel = {}
        for (a, left), (b, right) in itertools.product(total.items(), factor.items()):
            c = tuple(x + y for x, y in zip(a, b, strict=True))
            matrix = product.setdefault(c, {})
            inner = {t for t, _ in right}
            assert {t for _, t in left} == inner
            for (s, r), x in left.items():
                for t in {t for _, t in right}:
                    matrix[s, t] = matrix.get((s, t), Fraction(0)) + x * right[r, t]
        total = product
    return total


def evaluated(kernel: Kernel, image: Tensor, transposed: bool) -> Kernel:
    """Eq. (5) with padding "same": the dense convolution of an input padded with zeros."""
    batch, _, *size = image.shape
    far = max(kernel)
    lead = [k // 2 for k in far]
    out: Kernel = {}
    for p in itertools.product(*map(range, size)):
        out[p] = {}
        for a, matrix in kernel.items():
            tap = [k - i for k, i in zip(far, a, strict=True)] if transposed else a
            q = [x + i - before for x, i, before in zip(p, tap, lead, strict=True)]
            inside = all(0 <= x < n for x, n in zip(q, size, strict=True))
            for (s, t), value in matrix.items():
                s, t = (t, s) if transposed else (s, t)
                for b in range(batch):
                    pixel = Fraction(image[(b, t, *q)].item()) if inside else Fraction(0)
                    out[p][b, s] = out[p].get((b, s), Fraction(0)) + value * pixel
    return out


# ---- lower bounds -------------------------------------------------------------------------------------------


def freeze(kernel: Kernel) -> tuple[Any, ...]:
    return tuple((c, tuple(sorted(matrix.items()))) for c, matrix in sorted(kernel.items()))


@functools.cache
def best_bound(kernel: tuple[Any, ...], sizes: tuple[tuple[int, ...], ...], ranks: tuple[int, ...]) -> Any:
    """The best of the bounds from unfoldings and from the spectrum, relative, in 40 digits."""
    with mpmath.workdps(40):
        table = {c: dict(matrix) for c, matrix in kernel}
        norm = sum(value**2 for matrix in table.values() for value in matrix.values())
        bounds = [mpmath.mpf(0)]
        grids = itertools.product(*([n for n in (1, 2, 4) if n > k] for k in max(table))) if ranks else ()
        bounds += [spectral_energy(table, grid, min(ranks)) for grid in grids]
        for bond, axes in itertools.product(range(1, len(sizes)), itertools.product(*({0, k} for k in max(table)))):
            matrix = unfolding(table, axes)
            bounds.append(energy_beyond(matrix, ranks[bond - 1] * shifts(sizes, bond, axes, max(table))))
        return mpmath.sqrt(max(bounds) / mpmath.mpf(norm.numerator) * norm.denominator)


def shifts(sizes: tuple[tuple[int, ...], ...], bond: int, axes: tuple[int, ...], far: tuple[int, ...]) -> int:
    """How many z there are with W[a + b] = Σ_z T_left[a + z] T_right[b - z] for positions a of rows, b of columns."""
    count = 1
    for axis, (top, end) in enumerate(zip(axes, far, strict=True)):
        left = sum(size[axis] - 1 for size in sizes[:bond])
        right = sum(size[axis] - 1 for size in sizes[bond:])
        zs = {
            z
            for a, b in itertools.product(range(top + 1), range(end - top + 1))
            for z in range(-end, end + 1)
            if 0 <= a + z <= left and 0 <= b - z <= right
        }
        count *= len(zs)
    return count


def unfolding(table: dict[Any, dict[Any, Fraction]], axes: tuple[int, ...]) -> Any:
    """Positions up to `axes` in the rows, the other ones in the columns."""
    cells: dict[tuple[Any, Any], Fraction] = {}
    for c, matrix in table.items():
        a = tuple(min(x, top) for x, top in zip(c, axes, strict=True))
        b = tuple(x - y for x, y in zip(c, a, strict=True))
        for (s, t), value in matrix.items():
            cells[(a, s), (b, t)] = value
    rows, columns = sorted({row for row, _ in cells}), sorted({column for _, column in cells})
    return mpmath.matrix([[rational(cells[row, column]) for column in columns] for row in rows])


def rational(value: Fraction) -> Any:
    return mpmath.mpf(value.numerator) / value.denominator


def spectral_energy(table: dict[Any, dict[Any, Fraction]], grid: tuple[int, ...], rank: int) -> Any:
    """Σ over a grid of frequencies of what is beyond `rank` singular values, divided by their number."""
    total = mpmath.mpf(0)
    pairs = sorted(next(iter(table.values())))
    p, q = max(s for s, _ in pairs) + 1, max(t for _, t in pairs) + 1
    for f in itertools.product(*map(range, grid)):
        matrix = mpmath.matrix(p, q)
        for c, entry in table.items():
            quarters = sum(4 // n * x * y for n, x, y in zip(grid, f, c, strict=True)) % 4
            wave = (mpmath.mpc(1, 0), mpmath.mpc(0, -1), mpmath.mpc(-1, 0), mpmath.mpc(0, 1))[quarters]
            for (s, t), value in entry.items():
                matrix[s, t] += wave * rational(value)
        total += energy_beyond(matrix, rank)
    return total / math.prod(grid)


def energy_beyond(matrix: Any, rank: int) -> Any:
    """Σ σ_i² over i > rank."""
    short = matrix if matrix.rows <= matrix.cols else matrix.H
    if rank >= short.rows:
        return mpmath.mpf(0)
    values = sorted(mpmath.eighe(short * short.H)[0])
    return sum(values[: short.rows - rank])
