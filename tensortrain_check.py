"""Check a certificate of `tensortrain verify` by exact arithmetic: `python -m tensortrain_check FILE.json [FILE …]`.

It needs Python and the safetensors files beside the certificate, or named. Prints what holds, or ends with status 1."""

import hashlib
import json
import math
import struct
import sys
from fractions import Fraction
from functools import reduce
from itertools import product
from operator import add, mul, sub
from pathlib import Path

DTYPES = {"F64": ("d", 53), "F32": ("f", 24), "F16": ("e", 11), "BF16": ("f", 8)}  # code in struct, bits of precision
ONE = 1 << 80  # squared length of the vectors of a lower bound, which are integers


def _need(condition, message):
    if not condition:
        raise ValueError(message)


def _fields(entry, names):
    _need(type(entry) is dict and entry.keys() == set(names.split()), f"{entry!r:.99} has other keys than {names}")
    return [entry[name] for name in names.split()]


def _number(text):
    value = float.fromhex(text)
    _need(0 <= value < math.inf and value.hex() == text, f"{text} is no number from 0 on as float.hex writes it")
    return Fraction(value)


def read(data, name, groups=1):
    """A conv weight in a file: {position: matrix} of integers over 2^e, its groups as blocks; e; bits of precision."""
    header = json.loads(data[8 : (start := 8 + int.from_bytes(data[:8], "little"))])
    dtype, (rows, columns, *size), (begin, end) = _fields(header[name], "dtype shape data_offsets")
    _need(type(groups) is int and groups > 0 and rows % groups == 0, f"{name} has {rows} channels in {groups} groups")
    raw, (code, bits), count = data[start + begin : start + end], DTYPES[dtype], math.prod(size)
    raw = b"".join(b"\0\0" + raw[i : i + 2] for i in range(0, len(raw), 2)) if dtype == "BF16" else raw
    ratios = [value.as_integer_ratio() for value in struct.unpack(f"<{rows * columns * count}{code}", raw)]
    one, width, zeros, kernel = max(d for _, d in ratios), columns * count, [0] * columns, {}
    values = [n * (one // d) for n, d in ratios]
    for j, c in enumerate(product(*map(range, size))):
        lines = [(values[i * width + j : (i + 1) * width : count], i * groups // rows) for i in range(rows)]
        kernel[c] = [zeros * b + line + zeros * (groups - 1 - b) for line, b in lines]
    return kernel, one.bit_length() - 1, bits


def dot(left, right):
    """The product of integer matrices; each row of the right one is packed into one large integer."""
    _need({len(row) for row in left} == {len(right)} and len(set(map(len, right))) == 1, "shapes do not fit each other")
    bits = sum(max(max(map(abs, row)) for row in matrix).bit_length() for matrix in (left, right))
    size, count = (bits + len(right).bit_length()) // 8 + 1, len(right[0])
    half, shift = 1 << 8 * size - 1, int.from_bytes((b"\x80" + bytes(size - 1)) * count)
    packed = [int.from_bytes(b"".join([(v + half).to_bytes(size) for v in row])) - shift for row in right]
    sums = [(sum(map(mul, row, packed)) + shift).to_bytes(size * count) for row in left]
    return [[int.from_bytes(s[i : i + size]) - half for i in range(0, len(s), size)] for s in sums]


def compose(outer, inner):
    """The kernel {position: matrix} of two steps."""
    kernel = {}
    for c in sorted({tuple(map(add, a, b)) for a in outer for b in inner}):
        pairs = [(outer[a], inner[b]) for a in outer if (b := tuple(map(sub, c, a))) in inner]
        kernel[c] = dot([sum(parts, []) for parts in zip(*[a for a, _ in pairs])], sum((b for _, b in pairs), []))
    return kernel


def apart(exact, scale, other, exponent, ends):
    """Check how far {position: matrix} of integers over a power of 2 is from an exact one, relative to that."""
    rows = [rows for c in exact.keys() | other.keys() for rows in zip(exact[c], other[c], strict=True)]
    square = sum(((x << exponent) - (y << scale)) ** 2 for r, s in rows for x, y in zip(r, s, strict=True))
    norm, (low, high) = sum(x * x for r, _ in rows for x in r) << 2 * exponent, map(_number, ends)
    _need(norm and low**2 * norm <= square <= high**2 * norm, f"the relative distance is not between {ends}")
    return f"at a relative distance between {float(low)} and {float(high)} from"


def energy(kernel, sizes, ranks, bond, axes, bases):
    """At most the squared distance of a kernel from all chains, by its spectrum, or at a bond by an unfolding."""
    k, left, right = ([sum(n) - len(n) + 1 for n in zip(*s, strict=True)] for s in (sizes, sizes[:bond], sizes[bond:]))
    rest, total = [n - a + 1 for n, a in zip(k, axes, strict=True)], 0
    if bond:  # part of each position in the row, the rest in the column; no position twice
        _need(0 < bond < len(sizes) and all(min(pair) == 1 for pair in zip(axes, rest)), "an unfolding does not fit")
        rank = ranks[bond] * math.prod(min(l, b) + min(r, a) - 1 for l, r, a, b in zip(left, right, axes, rest))
        rows, columns = (list(product(*map(range, part))) for part in (axes, rest))
        lines = [[kernel[tuple(map(add, a, b))] for b in columns] for a in rows]
        return tail([sum(parts, []) for line in lines for parts in zip(*line)], rank, *bases)
    _need(all(n in (1, 2, 4) and r <= 1 for n, r in zip(axes, rest)), "a spectrum has too few frequencies")
    for f in product(*(range(0, 4, 4 // n) for n in axes[:-1]), range(0, 3, 4 // axes[-1])):
        waves = [[wave[sum(map(mul, f, c)) % 4] for c in kernel] for wave in ((1, 0, -1, 0), (0, -1, 0, 1))]
        re, im = ([[sum(map(mul, w, cell)) for cell in zip(*line)] for line in zip(*kernel.values())] for w in waves)
        matrix = [x + [-v for v in y] for x, y in zip(re, im)] + [y + x for x, y in zip(re, im)]
        total += tail(matrix, 2 * min(ranks[1:]), next(bases)) * (1 + f[-1] % 2)  # a real matrix with each value twice
    return Fraction(total) / (2 * math.prod(axes))


def tail(matrix, rank, lines):
    """At most the energy beyond `rank` singular values, from Gershgorin's discs in a nearly orthonormal basis."""
    basis, n = [list(map(int, line.split())) for line in lines], len(lines)
    basis += [[-v for v in row[n:]] + row[:n] for row in basis if len(row) == 2 * n]  # of complex vectors i times each
    turned = dot(basis, matrix if len(matrix) == len(basis) else list(zip(*matrix)))
    discs = sorted((sum(map(abs, row)) for row in dot(turned, list(zip(*turned)))), reverse=True)
    gram = dot(basis, list(zip(*basis)))
    skew = max(sum(abs(v - (i == j) * ONE) for j, v in enumerate(row)) for i, row in enumerate(gram))
    _need(skew < ONE and len(basis) == len(basis[0]), "the basis of a lower bound is not orthonormal")
    return max(0, sum(v * v for row in matrix for v in row) - Fraction(sum(discs[:rank]), ONE - skew))


def check(entry, stored, original, maps=None):
    """Print the claims about a layer; the files are given by their contents."""
    name, keys, groups, error, lower, evaluation = _fields(entry, "weight cores groups error bound evaluation")
    own, exponent, _ = read(original, name, groups[0])
    cores, exponents, precisions = zip(*[read(stored, key, g) for key, g in zip(keys, groups[1:], strict=True)])
    kernel, scale = reduce(compose, cores), sum(exponents)
    print(f"{name}: (A) its stored cores compose to a kernel {apart(own, exponent, kernel, scale, error)} the weight")
    if lower != "not certified":
        least, *where, bases = _fields(lower, "at_least bond axes vectors")
        sizes, ranks = [[n + 1 for n in max(core)] for core in cores], [len(core[max(core)]) for core in cores]
        norm, least = sum(x * x for rows in own.values() for row in rows for x in row), _number(least)
        _need(least**2 * norm <= energy(own, sizes, ranks, *where, iter(bases)), "a lower bound is not proved")
        print(f"{name}: (B) no chain of these sizes and ranks is closer than {float(least)}, by P8 of proofs/README.md")
    if evaluation != "not certified":
        (image, output), transposed, error, probe = _fields(evaluation, "tensors transposed error probe")
        (x, fine, _), (y, coarse, _), far = read(maps, image), read(maps, output), max(own)
        full = compose(x, {0: {tuple(map(sub, far, c)): [*zip(*m)] for c, m in kernel.items()}, 1: kernel}[transposed])
        exact = {p: full[tuple(a + (b + 1) // 2 for a, b in zip(p, far))] for p in x}
        print(f"{name}: (C) the stored output is {apart(exact, fine + scale, y, coarse, error)} eq. (5) of the input")
        steps = sum(len(core) * [len(m[0]), len(m)][transposed] + 3 for core in cores for m in [core[max(core)]])
        bound = f"(1 + 2^-{min(precisions)})^{steps} - 1 times eq. (5) on absolute values, by P10"
        print(f"{name}: (D) outputs are within {bound}, if convolutions sum plain products: {probe:s}")


def main(path, *paths):
    """Print the claims that hold; raise at the first that does not."""
    text, folder = Path(path).read_text(), Path(path).parent
    kind, by, files, entries = _fields(table := json.loads(text), "format written_by files layers")
    _need(json.dumps(table, indent=1, allow_nan=False) == text and entries, "a key is repeated, or nothing claimed")
    contents = [Path(file).read_bytes() for file in paths or [folder / name for name, _ in files]]
    digests = [[name, hashlib.sha256(data).hexdigest()] for (name, _), data in zip(files, contents)]
    _need([kind, type(by), digests] == ["tensortrain-certificate/1", str, files], f"another format or file: {digests}")
    for entry in entries:
        check(entry, *contents)


if __name__ == "__main__":
    sys.excepthook = lambda kind, error, trace: print(f"refused: {error!r}", file=sys.stderr)
    main(*sys.argv[1:])
