"""Check certificates of `tensortrain verify` by exact arithmetic: `python -m tensortrain_check FILE.json [FILE …]`."""

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


def _need(condition, message):
    if not condition:
        raise ValueError(message)


def _fields(entry, names):
    _need(type(entry) is tuple and sorted(k for k, _ in entry) == sorted(names.split()), f"{entry!r:.99}, not {names}")
    return [dict(entry)[name] for name in names.split()]


def _number(text):
    _need((value := float.fromhex(text)).hex() == text and text[0] != "-" and value < math.inf, f"bad number: {text}")
    return Fraction(value)


def tensors(data):
    """The tensors in a safetensors file by name: dtype, shape and bytes, which are its own alone."""
    header = json.loads(data[8 : (start := 8 + int.from_bytes(data[:8], "little"))], object_pairs_hook=tuple)
    table = {name: _fields(entry, "dtype shape data_offsets") for name, entry in header if name != "__metadata__"}
    begins, ends = zip(*sorted(offsets for *_, offsets in table.values()))
    _need((*begins, len(data) - start) == (0, *ends) and len(dict(header)) == len(header), "names or bytes are shared")
    return {name: (dtype, shape, data[start + a : start + b]) for name, (dtype, shape, (a, b)) in table.items()}


def read(file, name, groups=1):
    """A conv weight in a file: {position: matrix} of integers over 2^e, its groups as blocks; e; bits of precision."""
    dtype, (rows, columns, *size), raw = file[name]
    _need(type(groups) is int and groups > 0 and rows % groups == 0, f"{name} has {rows} channels in {groups} groups")
    (code, bits), count, places = DTYPES[dtype], math.prod(size), enumerate(product(*map(range, size)))
    raw = b"".join(b"\0\0" + raw[i : i + 2] for i in range(0, len(raw), 2)) if dtype == "BF16" else raw
    ratios = [value.as_integer_ratio() for value in struct.unpack(f"<{rows * columns * count}{code}", raw)]
    one, width, zeros = max(d for _, d in ratios), columns * count, [0] * columns
    values, blocks = [n * (one // d) for n, d in ratios], [i * groups // rows for i in range(rows)]
    lines = [(i * width, zeros * b, zeros * (groups - 1 - b)) for i, b in enumerate(blocks)]
    kernel = {c: [left + values[i + j : i + width : count] + right for i, left, right in lines] for j, c in places}
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
    """The kernel {position: matrix} of a step `inner`, followed by a step `outer`."""
    sums = {tuple(map(sum, zip(a, b, strict=True))) for a in outer for b in inner}  # strict: of as many axes
    pairs = {c: [(outer[a], inner[b]) for a in outer if (b := tuple(map(sub, c, a))) in inner] for c in sorted(sums)}
    return {c: dot([sum(a, []) for a in zip(*[a for a, _ in p])], sum((b for _, b in p), [])) for c, p in pairs.items()}


def apart(exact, scale, other, exponent, ends):
    """Check how far {position: matrix} of integers over a power of 2 is from an exact one, relative to its norm."""
    rows = [rows for c in exact.keys() | other.keys() for rows in zip(exact[c], other[c], strict=True)]
    square = sum(((x << exponent) - (y << scale)) ** 2 for r, s in rows for x, y in zip(r, s, strict=True))
    norm, (low, high) = sum(x * x for r, _ in rows for x in r) << 2 * exponent, map(_number, ends)
    _need(norm and low**2 * norm <= square <= high**2 * norm, f"the relative distance is not between {ends}")
    return f"at a relative distance between {float(low)} and {float(high)} from"


def energy(kernel, sizes, ranks, bond, axes, bases):
    """A lower bound of the squared distance of a kernel from all chains, by its spectrum or an unfolding at a bond."""
    k, left, right = ([sum(n) - len(n) + 1 for n in zip(*s, strict=True)] for s in (sizes, sizes[:bond], sizes[bond:]))
    rest, total = [n - a + 1 for n, a in zip(k, axes, strict=True)], 0
    if bond:  # part of each position in the row, the rest in the column; no position twice
        _need(0 < bond < len(sizes) and all(min(pair) == 1 for pair in zip(axes, rest)), "an unfolding does not fit")
        rank = ranks[bond] * math.prod(min(l, b) + min(r, a) - 1 for l, r, a, b in zip(left, right, axes, rest))
        grid = [[kernel[tuple(map(add, a, b))] for b in product(*map(range, rest))] for a in product(*map(range, axes))]
        return tail([sum(parts, []) for line in grid for parts in zip(*line)], rank, *bases)
    _need(bond == 0 and all(n in (1, 2, 4) and r <= 1 for n, r in zip(axes, rest)), "a spectrum is too coarse")
    for f, lines in zip([f for f in product(*(range(0, 4, 4 // n) for n in axes)) if f[-1] < 3], bases, strict=True):
        waves = [[wave[sum(map(mul, f, c)) % 4] for c in kernel] for wave in ((1, 0, -1, 0), (0, -1, 0, 1))]
        re, im = ([[sum(map(mul, w, cell)) for cell in zip(*line)] for line in zip(*kernel.values())] for w in waves)
        matrix = [x + [-v for v in y] for x, y in zip(re, im)] + [y + x for x, y in zip(re, im)]
        total += tail(matrix, 2 * min(ranks[1:]), lines) * (1 + f[-1] % 2)  # a real matrix with each value twice
    return Fraction(total) / (2 * math.prod(axes))


def tail(matrix, rank, lines):
    """A lower bound of the energy beyond `rank` singular values, by Gershgorin's discs in a basis about 2^40 long."""
    basis, n, one = [list(map(int, line.split())) for line in lines], len(lines), 1 << 80
    basis += [[-v for v in row[n:]] + row[:n] for row in basis if len(row) == 2 * n]  # of complex vectors i times each
    turned = dot(basis, matrix if len(matrix) == len(basis) else list(zip(*matrix)))
    discs = sorted((sum(map(abs, row)) for row in dot(turned, list(zip(*turned)))), reverse=True)
    skew = max(sum(abs(v - (i == j) * one) for j, v in enumerate(r)) for i, r in enumerate(dot(basis, [*zip(*basis)])))
    _need(skew < one and len(basis) == len(basis[0]), "the basis of a lower bound is not orthonormal")
    return max(0, sum(v * v for row in matrix for v in row) - Fraction(sum(discs[:rank]), one - skew))


def check(entry, stored, original, maps=None):
    """Check and print the claims about a layer; `stored`, `original` and `maps` hold the tensors of files by name."""
    name, keys, groups, error, lower, evaluation = _fields(entry, "weight cores groups error bound evaluation")
    (own, exponent, _), name = read(original, name, groups[0]), repr(name)
    cores, exponents, precisions = zip(*[read(stored, key, g) for key, g in zip(keys, groups[1:], strict=True)])
    kernel, scale = reduce(compose, cores), sum(exponents)
    print(f"{name}: (A) cores {keys} make a kernel {apart(own, exponent, kernel, scale, error)} it; groups {groups}")
    if lower != "not certified":
        least, *where, vectors = _fields(lower, "at_least bond axes vectors")
        sizes, ranks = [[n + 1 for n in max(core)] for core in cores], [len(core[max(core)]) for core in cores]
        norm, least = sum(x * x for rows in own.values() for row in rows for x in row), _number(least)
        _need(least**2 * norm <= energy(own, sizes, ranks, *where, vectors), "a lower bound is not proved")
        print(f"{name}: (B) no chain of these sizes and ranks is closer than {float(least)}, by P8 of proofs/README.md")
    if evaluation != "not certified":
        (image, output), transposed, error, probe = _fields(evaluation, "tensors transposed error probe")
        _need([type(transposed), type(probe)] == [bool, str], "an evaluation must state its kind and its probe")
        (x, fine, _), (y, coarse, _), far = read(maps, image), read(maps, output), max(own)
        full = compose(x, kernel if transposed else {tuple(map(sub, far, c)): [*zip(*m)] for c, m in kernel.items()})
        exact = {p: full[tuple(a + (b + 1) // 2 for a, b in zip(p, far))] for p in x}
        print(f"{name}: (C) {output!r} is {apart(exact, fine + scale, y, coarse, error)} eq. (5) of {image!r}")
        steps = sum(len(core) * [len(m[0]), len(m)][transposed] + 3 for core in cores for m in [core[max(core)]])
        bound = f"(1 + 2^-{min(precisions)})^{steps} - 1 times eq. (5) on absolute values by P10, without underflow"
        print(f"{name}: (D) outputs are within {bound}, if convolutions sum plain products, on which it says {probe!r}")


def main(path, *paths):
    """Print the claims that hold; raise at the first that does not."""
    text = Path(path).read_text()
    kind, by, files, layers = _fields(json.loads(text, object_pairs_hook=tuple), "format written_by files layers")
    _need(json.dumps(json.loads(text), indent=1, allow_nan=False) == text and layers, "keys are repeated, or none")
    contents = [Path(file).read_bytes() for file in paths or [Path(path).with_name(name) for name, _ in files]]
    digests = [[name, hashlib.sha256(data).hexdigest()] for (name, _), data in zip(files, contents, strict=True)]
    _need([kind, type(by), digests] == ["tensortrain-certificate/1", str, files], f"another format or file: {digests}")
    for entry, tables in product(layers, [[*map(tensors, contents)]]):
        check(entry, *tables)


if __name__ == "__main__":
    sys.excepthook = lambda kind, error, trace: print(f"refused: {error!r}", file=sys.stderr)
    main(*sys.argv[1:])
