"""The machine-checked proofs, and the bridge from what they speak of to what the library computes.

The bridge transcribes the definitions of `proofs/*.v` line by line to Python integers, without torch, and
demands that the library's output is equal, exactly. Names are those of the Coq sources; the cores are
counted from 0 there. Numbers such as P3.4 are the steps of `proofs/README.md`.
"""

import itertools
import math
import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

import tensortrain as tt
from tensortrain.conv import alignment
from tensortrain.conv.fit.sweep import lift, split, sweep
from tensortrain.conv.functional import conv_sum, conv_tt
from tensortrain.tt.matrix import TensorTrainMatrix
from tensortrain.tt.tensor_train import TensorTrain

PROOFS = Path(__file__).parents[2] / "proofs"
SOURCES = sorted(PROOFS.glob("*.v"))
THEOREMS = [
    name
    for source in SOURCES
    for name in re.findall(r"^(?:Theorem|Corollary) (\w+)", source.read_text(), flags=re.MULTILINE)
]


SEEDS = pytest.mark.parametrize("seed", range(27))  # plain seeds: every shape of train in turn


# ---- Coq --------------------------------------------------------------------------------------------------


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=600)


@pytest.fixture(scope="module")
def checked_proofs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A copy of the proofs, compiled from nothing, and what `make` printed; skipped where Coq is absent."""
    folder = tmp_path_factory.mktemp("proofs")
    for file in (*SOURCES, PROOFS / "Makefile"):
        shutil.copy(file, folder)
    tools = make(folder, "tools")
    if tools.returncode:
        pytest.skip(tools.stdout.strip())
    done = make(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def test_every_theorem_is_proved_without_axioms(checked_proofs: tuple[Path, str]) -> None:
    _, report = checked_proofs
    for theorem in THEOREMS:
        assert f"\n{theorem}\nClosed under the global context\n" in report
    assert "Axioms:" not in report


def test_an_axiom_is_noticed(checked_proofs: tuple[Path, str]) -> None:
    folder, _ = checked_proofs
    (folder / "Cheat.v").write_text("Axiom cheat : 0 = 1.\nTheorem one_is_zero : 0 = 1.\nProof. exact cheat. Qed.\n")
    done = make(folder, "SOURCES=Cheat.v")
    assert done.returncode == 2
    assert "one_is_zero\nAxioms:\ncheat" in done.stdout


@pytest.mark.parametrize("tool", ["COQC", "COQTOP"])
def test_make_says_what_is_missing(tool: str) -> None:
    done = make(PROOFS, "tools", f"{tool}=no-such-program")
    assert done.returncode == 2
    assert "missing" in done.stdout
    assert "libcoq-mathcomp-algebra" in done.stdout


def test_nothing_is_admitted_or_assumed() -> None:
    for source in SOURCES:
        code = re.sub(r"\(\*.*?\*\)", "", source.read_text(), flags=re.DOTALL)
        assert not re.search(r"\b(Admitted|admit|Abort|Axiom|Axioms|Parameter|Conjecture|Unset Guard)\b", code), source


def test_the_readme_lists_every_theorem() -> None:
    rows = re.findall(r"^\| P\S.*?\|(.*?)\|", (PROOFS / "README.md").read_text(), flags=re.MULTILINE)
    assert sorted(name for row in rows for name in re.findall(r"`(\w+)`", row)) == sorted(THEOREMS)


# ---- TensorTrain.v: Theorem A -----------------------------------------------------------------------------

Matrix = list[list[int]]


def zero(rows: int, columns: int) -> Matrix:
    return [[0] * columns for _ in range(rows)]


def identity(size: int) -> Matrix:
    return [[int(i == j) for j in range(size)] for i in range(size)]


def add(a: Matrix, b: Matrix) -> Matrix:
    return [[x + y for x, y in zip(r, s, strict=True)] for r, s in zip(a, b, strict=True)]


def scale(factor: int, a: Matrix) -> Matrix:
    return [[factor * x for x in row] for row in a]


def mul(a: Matrix, b: Matrix) -> Matrix:
    return [[sum(x * y for x, y in zip(row, column, strict=True)) for column in zip(*b, strict=True)] for row in a]


def ttseq(v0: Matrix, G: list[list[Matrix]], u: list[list[int]]) -> Matrix:
    """`v_{l+1} = sum_j u_l j *: (v_l *m G_l j)`; `G[l][i]` is the matrix of core l at index i."""
    v = v0
    for core, x in zip(G, u, strict=True):
        terms = [scale(x[j], mul(v, core[j])) for j in range(len(core))]
        v = terms[0]
        for term in terms[1:]:
            v = add(v, term)
    return v


def path_sum(G: list[list[Matrix]], ranks: list[int], i: tuple[int, ...], a: int, c: int) -> int:
    """`sum over bond paths b from a to c of prod_l G_l (i_l) (b_l) (b_{l+1})`."""
    paths = itertools.product(*(range(r) for r in ranks))
    return sum(math.prod(G[l][i[l]][b[l]][b[l + 1]] for l in range(len(G))) for b in paths if b[0] == a and b[-1] == c)


def integers(generator: random.Random, *shape: int) -> Tensor:
    values = [generator.randint(-3, 3) for _ in range(math.prod(shape))]
    return torch.tensor(values, dtype=torch.float64).reshape(shape)


@SEEDS
def test_p1_sequential_is_the_sum_over_multi_indices_and_bond_paths(seed: int) -> None:
    generator = random.Random(seed)
    shape = [generator.randint(1, 3) for _ in range(seed % 4 + 1)]
    ranks = [generator.randint(1, 3) for _ in range(len(shape) + 1)]
    cores = [integers(generator, ranks[l], n, ranks[l + 1]) for l, n in enumerate(shape)]
    inputs = [integers(generator, 1, n) for n in shape]
    G = [[core[:, i].int().tolist() for i in range(core.shape[1])] for core in cores]
    u = [x[0].int().tolist() for x in inputs]

    train = TensorTrain(cores)
    library = train.evaluate(inputs).reshape(ranks[0], ranks[-1])
    tensor = train.reconstruct().reshape(ranks[0], *shape, ranks[-1])

    assert torch.equal(library, torch.tensor(ttseq(identity(ranks[0]), G, u), dtype=torch.float64))
    for a, c in itertools.product(range(ranks[0]), range(ranks[-1])):
        dense = 0
        for i in itertools.product(*(range(n) for n in shape)):
            entry = path_sum(G, ranks, i, a, c)
            assert entry == tensor[(a, *i, c)]
            dense += entry * math.prod(u[l][i[l]] for l in range(len(shape)))
        assert dense == library[a, c]


@SEEDS
def test_p1_6_a_tt_matrix_is_one_train_for_each_output(seed: int) -> None:
    generator = random.Random(seed)
    shape = [(generator.randint(1, 3), generator.randint(1, 3)) for _ in range(seed % 3 + 1)]
    ranks = [1, *(generator.randint(1, 3) for _ in shape[1:]), 1]
    M = [integers(generator, ranks[l], o, i, ranks[l + 1]) for l, (o, i) in enumerate(shape)]
    u = [[generator.randint(-3, 3) for _ in range(i)] for _, i in shape]
    rank_one = torch.tensor([math.prod(x) for x in itertools.product(*u)], dtype=torch.float64)

    library = (TensorTrainMatrix(M) @ rank_one).reshape([o for o, _ in shape])

    for o in itertools.product(*(range(o) for o, _ in shape)):
        G = [[core[:, o[l], i].int().tolist() for i in range(core.shape[2])] for l, core in enumerate(M)]
        assert ttseq([[1]], G, u) == [[int(library[o])]]


# ---- Alignment.v, Border.v, Circular.v: Theorem B ---------------------------------------------------------

Position = tuple[int, ...]
Image = Callable[[Position], Matrix]


def taps(D: Position) -> Iterator[Position]:
    return itertools.product(*(range(n + 1) for n in D))


def compose(w: dict[Position, Matrix], v: dict[Position, Matrix]) -> dict[Position, Matrix]:
    """`(w * v)[c] = sum_{a + b = c} w[a] *m v[b]`."""
    composite: dict[Position, Matrix] = {}
    for a, b in itertools.product(w, v):
        c = tuple(i + j for i, j in zip(a, b, strict=True))
        term = mul(w[a], v[b])
        composite[c] = add(composite[c], term) if c in composite else term
    return composite


@dataclass(frozen=True)
class Chain:
    """The section variables of `Alignment.v`: dilation, degrees, ranks, batch and cores."""

    dil: Position
    deg: list[Position]
    r: list[int]
    n: int
    T: list[dict[Position, Matrix]]

    @property
    def m(self) -> int:
        return len(self.deg)

    def extent(self, l: int) -> Position:
        return tuple(sum(self.deg[j][i] for j in range(l)) for i in range(len(self.dil)))

    def reach(self, l: int) -> Position:
        return tuple(d * e for d, e in zip(self.dil, self.extent(l), strict=True))

    def lead(self, l: int) -> Position:
        return tuple(e // 2 for e in self.reach(l))

    def tail(self, l: int) -> Position:
        return tuple(e - f for e, f in zip(self.reach(l), self.lead(l), strict=True))

    def read(self, p: Position, a: Position, before: Position) -> Position:
        """`p + offset a before`, as `plane_offset` writes it out."""
        return tuple(q + (d * i - b) for q, d, i, b in zip(p, self.dil, a, before, strict=True))

    def step(self, l: int, x: Image, p: Position) -> Matrix:
        before = tuple(i - o for i, o in zip(self.lead(l + 1), self.lead(l), strict=True))
        total = zero(self.r[l], self.n)
        for a in taps(self.deg[l]):
            total = add(total, mul(self.T[l][a], x(self.read(p, a, before))))
        return total

    def kernel(self, l: int) -> dict[Position, Matrix]:
        if l == 0:
            return {(0,) * len(self.dil): identity(self.r[0])}
        return compose(self.kernel(l - 1), self.T[l - 1])

    def dense(self, l: int, x: Image, p: Position) -> Matrix:
        total = zero(self.r[0], self.n)
        for c, matrix in self.kernel(l).items():
            total = add(total, mul(matrix, x(self.read(p, c, self.lead(l)))))
        return total

    def dense_sum(self, U: list[Image], b: list[Image], p: Position) -> Matrix:
        total = zero(self.r[0], self.n)
        for l in range(1, self.m + 1):
            total = add(total, self.dense(l, U[l], p))
        for l in range(self.m):
            total = add(total, self.dense(l, b[l], p))
        return total

    def box(self, lo: Position, hi: Position, p: Position) -> bool:
        return all(a <= x < b for a, x, b in zip(lo, p, hi, strict=True))

    def canvas(self, lo: Position, hi: Position, l: int) -> tuple[Position, Position]:
        return (
            tuple(a - b for a, b in zip(lo, self.lead(l), strict=True)),
            tuple(a + b for a, b in zip(hi, self.tail(l), strict=True)),
        )

    def support(self, h: Position, t: int, l: int) -> tuple[Position, Position]:
        return (
            tuple(a - b for a, b in zip(self.tail(l), self.tail(t), strict=True)),
            tuple(n + a - b for n, a, b in zip(h, self.lead(t), self.lead(l), strict=True)),
        )


def solve(
    chain: Chain, equation: Callable[[int, Position, Callable[[int, Position], Matrix]], Matrix]
) -> Callable[[int, Position], Matrix]:
    """The family V with `V m = 0` and `V l p = equation`, every value computed once."""

    @cache
    def V(l: int, p: Position) -> Matrix:
        return zero(chain.r[l], chain.n) if l == chain.m else equation(l, p, V)

    return V


@dataclass(frozen=True)
class Case:
    """One random call of `conv_tt`, as tensors and as the data of the Coq statements."""

    cores: list[Tensor]
    inputs: list[Tensor | None]
    biases: list[Tensor | None]
    size: Position
    chain: Chain

    @property
    def top(self) -> int:
        """The t of `Support`: U l = 0 for l > t."""
        return max(l for l, u in enumerate(self.inputs, start=1) if u is not None)

    @property
    def last_bias(self) -> int:
        """The s of `Support`: b l = 0 for l >= s."""
        return max((l + 1 for l, b in enumerate(self.biases) if b is not None), default=0)

    @property
    def origin(self) -> Position:
        return (0,) * len(self.size)

    def frame(self, p: Position) -> bool:
        return self.chain.box(self.origin, self.size, p)

    def U(self, l: int, p: Position) -> Matrix:
        """The pixel p of U l, channels × batch; asked for on the frame only."""
        assert self.frame(p)
        u = self.inputs[l - 1]
        return zero(self.chain.r[l], self.chain.n) if u is None else u[(..., *p)].T.int().tolist()

    def pad(self, x: Image, rank: int) -> Image:
        return lambda p: x(p) if self.frame(p) else zero(rank, self.chain.n)

    def padded_U(self, l: int) -> Image:
        return self.pad(lambda p: self.U(l, p), self.chain.r[l])

    def b(self, l: int) -> Matrix:
        bias = self.biases[l]
        return zero(self.chain.r[l], self.chain.n) if bias is None else [[int(x)] * self.chain.n for x in bias]


def random_case(seed: int, biased: bool = True) -> Case:
    """Each number of axes with each order, in turn; everything else at random."""
    generator = random.Random(seed)
    axes, order = seed % 3 + 1, seed // 3 % 3 + 1
    longest, largest = {1: (4, 6), 2: (3, 4), 3: (2, 2)}[axes]
    sizes = [tuple(generator.randint(1, longest) for _ in range(axes)) for _ in range(order)]
    dil = tuple(generator.randint(1, 2) for _ in range(axes))
    room = seed % 2 == 0  # with room for the whole kernel, or an image that may be smaller than it
    reach = [room * d * sum(k - 1 for k in axis) for d, axis in zip(dil, zip(*sizes, strict=True), strict=True)]
    size = tuple(e + generator.randint(1, largest) for e in reach)
    batch = generator.randint(1, 2)
    groups = [generator.randint(1, 2) for _ in range(order)]
    ranks = [math.lcm(*groups[max(l - 1, 0) : l + 1]) * generator.randint(1, 2) for l in range(order + 1)]
    cores = [integers(generator, ranks[l], ranks[l + 1] // groups[l], *sizes[l]) for l in range(order)]
    top = generator.randint(1, order) if seed % 4 < 2 else order
    present = [l == top or (l < top and generator.random() < 0.5) for l in range(1, order + 1)]
    inputs = [
        integers(generator, batch, rank, *size) if u else None for rank, u in zip(ranks[1:], present, strict=True)
    ]
    biases = [integers(generator, ranks[l]) if biased and generator.random() < 0.4 else None for l in range(order)]
    T = [
        {a: block_diagonal(core[(..., *a)].int().tolist(), g) for a in taps(tuple(k - 1 for k in core.shape[2:]))}
        for core, g in zip(cores, groups, strict=True)
    ]
    chain = Chain(dil, [tuple(k - 1 for k in s) for s in sizes], ranks, batch, T)
    return Case(cores, inputs, biases, size, chain)


def block_diagonal(stored: Matrix, groups: int) -> Matrix:
    """The matrix that a grouped core's `(R, R' / g)` entries stand for."""
    rows, columns = len(stored) // groups, len(stored[0])
    full = zero(len(stored), columns * groups)
    for i, row in enumerate(stored):
        for j, value in enumerate(row):
            full[i][j + (i // rows) * columns] = value
    return full


def pixels(lo: Position, hi: Position, stride: Position | None = None) -> Iterator[Position]:
    axes = zip(lo, hi, stride or (1,) * len(lo), strict=True)
    return itertools.product(*(range(*axis) for axis in axes))


def on(lo: Position, hi: Position, x: Image, stride: Position | None = None) -> Tensor:
    """The image x on the pixels `lo, lo + stride, … < hi` as the tensor (batch, channels, *size)."""
    stride = stride or (1,) * len(lo)
    values = torch.tensor([x(p) for p in pixels(lo, hi, stride)], dtype=torch.float64)
    size = [len(range(*axis)) for axis in zip(lo, hi, stride, strict=True)]
    return values.reshape(*size, *values.shape[1:]).movedim((-1, -2), (0, 1))


def call(case: Case, padding: str, **options: object) -> Tensor:
    return conv_tt(case.cores, case.inputs, case.biases, padding, dilation=case.chain.dil, **options)


@SEEDS
def test_p4_4_same_is_the_chain_on_the_plane(seed: int) -> None:
    """`ctt_plane` on the left, `ctt_same` on the right."""
    case = random_case(seed)
    chain, stop = case.chain, min(seed // 9 % case.chain.m, case.top - 1)
    U = [case.padded_U(l) if l else None for l in range(chain.m + 1)]
    V = solve(chain, lambda l, p, V: add(case.b(l), chain.step(l, lambda q: add(V(l + 1, q), U[l + 1](q)), p)))

    library = call(case, "same", stop=stop)

    assert torch.equal(library, on(case.origin, case.size, lambda p: V(stop, p)))
    if stop == 0:
        b = [lambda p, l=l: case.b(l) for l in range(chain.m)]
        assert torch.equal(library, on(case.origin, case.size, lambda p: chain.dense_sum(U, b, p)))


@SEEDS
def test_p4_5_the_canvas_may_shrink_to_the_support(seed: int) -> None:
    """`ctt_same_shrunk`, and that the library's margins are its canvases."""
    case = random_case(seed)
    chain = case.chain

    def bounds(l: int, t: int, s: int) -> tuple[Position, Position]:
        lo, hi = chain.canvas(case.origin, case.size, l)
        if l < s:
            return lo, hi
        left, right = chain.support(case.size, t, l)
        return tuple(map(max, lo, left)), tuple(map(min, hi, right))

    def equation(l: int, p: Position, V: Callable[[int, Position], Matrix]) -> Matrix:
        if not chain.box(*bounds(l, case.top, case.last_bias), p):
            return zero(chain.r[l], chain.n)
        return add(chain.step(l, lambda q: add(V(l + 1, q), case.padded_U(l + 1)(q)), p), case.b(l))

    V = solve(chain, equation)
    assert torch.equal(call(case, "same"), on(case.origin, case.size, lambda p: V(0, p)))

    sizes = [tuple(e + 1 for e in deg) for deg in chain.deg]
    for t, s in itertools.product(range(1, chain.m + 1), range(chain.m + 1)):
        margins = alignment.margins(sizes, chain.dil, "same", top=t, biased=[l == s - 1 for l in range(chain.m)])
        for l in range(t):
            lo, hi = bounds(l, t, s)
            assert margins[l] == tuple((-a, b - n) for a, b, n in zip(lo, hi, case.size, strict=True))


@SEEDS
def test_p4_1_full_is_all_that_can_be_non_zero(seed: int) -> None:
    """`ctt_full_support`: V l vanishes off its support; a bias is given on the support only."""
    case = random_case(seed)
    chain, stop = case.chain, min(seed // 9 % case.chain.m, case.top - 1)

    def bias(l: int, p: Position) -> Matrix:
        inside = chain.box(*chain.support(case.size, chain.m, l), p)
        return case.b(l) if inside else zero(chain.r[l], chain.n)

    V = solve(
        chain,
        lambda l, p, V: add(bias(l, p), chain.step(l, lambda q: add(V(l + 1, q), case.padded_U(l + 1)(q)), p)),
    )
    lo, hi = chain.support(case.size, chain.m, stop)
    assert torch.equal(call(case, "full", stop=stop), on(lo, hi, lambda p: V(stop, p)))
    wider = tuple(a - 1 for a in lo), tuple(b + 1 for b in hi)
    assert all(chain.box(lo, hi, p) or not any(map(any, V(stop, p))) for p in pixels(*wider))


@SEEDS
def test_p4_2_valid_reads_nothing_off_the_frame(seed: int) -> None:
    """`ctt_valid`; `Case.U` asserts that only pixels of the frame are asked for."""
    case = random_case(seed)
    chain, stop = case.chain, min(seed // 9 % case.chain.m, case.top - 1)
    lo, hi = chain.lead(chain.m), tuple(n - a for n, a in zip(case.size, chain.tail(chain.m), strict=True))
    V = solve(chain, lambda l, p, V: add(case.b(l), chain.step(l, lambda q: add(V(l + 1, q), case.U(l + 1, q)), p)))
    lo, hi = chain.canvas(lo, hi, stop)
    if any(a >= b for a, b in zip(lo, hi, strict=True)):
        with pytest.raises(tt.TensorTrainError, match="smaller than the kernel"):
            call(case, "valid", stop=stop)
        return
    assert torch.equal(call(case, "valid", stop=stop), on(lo, hi, lambda p: V(stop, p)))


@SEEDS
def test_p4_3_circular_takes_positions_modulo_the_size(seed: int) -> None:
    """`ctt_circular`, and its right-hand side."""
    case = random_case(seed)
    chain, stop = case.chain, min(seed // 9 % case.chain.m, case.top - 1)

    def wrap(p: Position) -> Position:
        return tuple(x % n for x, n in zip(p, case.size, strict=True))

    V = solve(
        chain,
        lambda l, p, V: add(case.b(l), chain.step(l, lambda q: add(V(l + 1, wrap(q)), case.U(l + 1, wrap(q))), p)),
    )
    library = call(case, "circular", stop=stop)
    assert torch.equal(library, on(case.origin, case.size, lambda p: V(stop, p)))
    if stop == 0:
        U = [lambda p, l=l: case.U(l, wrap(p)) for l in range(chain.m + 1)]
        b = [lambda p, l=l: case.b(l) for l in range(chain.m)]
        assert torch.equal(library, on(case.origin, case.size, lambda p: chain.dense_sum(U, b, p)))


@SEEDS
def test_p5_same_per_step_crops_every_map_and_differs_in_the_border_only(seed: int) -> None:
    """`ctt_same_per_step`: what it computes, and that it agrees with the dense form inside the border."""
    case = random_case(seed)
    chain, stop = case.chain, min(seed // 9 % case.chain.m, case.top - 1)

    def equation(l: int, p: Position, V: Callable[[int, Position], Matrix]) -> Matrix:
        cropped = case.pad(lambda q: add(V(l + 1, q), case.U(l + 1, q)), chain.r[l + 1])
        return add(chain.step(l, cropped, p), case.b(l))

    V = solve(chain, equation)
    library = call(case, "same_per_step", stop=stop)
    assert torch.equal(library, on(case.origin, case.size, lambda p: V(stop, p)))
    if stop == 0:
        inner = tuple(
            slice(a, n - b)
            for n, a, b in zip(case.size, chain.lead(chain.m - 1), chain.tail(chain.m - 1), strict=True)
            if a < n - b
        )
        if len(inner) == len(case.size):
            assert torch.equal(library[(..., *inner)], call(case, "same")[(..., *inner)])


@pytest.mark.parametrize("sizes", [[(3, 3), (3, 3), (3, 3)], [(2, 5), (4, 2), (3, 4)], [(3, 1), (1, 4), (3, 3)]])
@pytest.mark.parametrize("dilation", [1, 2])
def test_p5_5_the_border_is_sharp(sizes: list[Position], dilation: int) -> None:
    cores = [torch.ones(1, 1, *size, dtype=torch.float64) for size in sizes]
    inputs = [torch.ones(1, 1, 19, 23, dtype=torch.float64)] * len(cores)
    loss = conv_tt(cores, inputs, dilation=dilation) - conv_tt(cores, inputs, None, "same_per_step", dilation=dilation)
    (top, bottom), (left, right) = alignment.border(sizes, (dilation, dilation))
    expected = torch.ones(19, 23, dtype=torch.bool)
    expected[top : 19 - bottom, left : 23 - right] = False
    assert torch.equal(loss[0, 0] > 0, expected)
    assert (loss >= 0).all()


@SEEDS
def test_p4_7_a_stride_picks_pixels(seed: int) -> None:
    case = random_case(seed)
    chain = case.chain
    stride = tuple((seed + axis) % 3 + 1 for axis in range(len(case.size)))
    V = solve(
        chain,
        lambda l, p, V: add(case.b(l), chain.step(l, lambda q: add(V(l + 1, q), case.padded_U(l + 1)(q)), p)),
    )
    assert torch.equal(call(case, "same", stride=stride), on(case.origin, case.size, lambda p: V(0, p), stride))


@SEEDS
def test_p3_kernels_are_the_composites(seed: int) -> None:
    """`kernel l` is W(l), and the library's dense form, eq. (5), is `dense_sum`."""
    case = random_case(seed, biased=False)
    chain = case.chain
    train = tt.ConvTensorTrain(case.cores, groups=[chain.r[l + 1] // c.shape[1] for l, c in enumerate(case.cores)])
    kernels = train.kernels()
    for l, weight in enumerate(kernels, start=1):
        transcribed = chain.kernel(l)
        assert tuple(weight.shape[2:]) == tuple(e + 1 for e in chain.extent(l))
        for c, matrix in transcribed.items():
            assert torch.equal(weight[(..., *c)], torch.tensor(matrix, dtype=torch.float64))
    U = [case.padded_U(l) if l else None for l in range(chain.m + 1)]
    none = [lambda p, l=l: zero(chain.r[l], chain.n) for l in range(chain.m)]
    library = conv_sum(kernels, case.inputs, padding="same", dilation=chain.dil)
    assert torch.equal(library, on(case.origin, case.size, lambda p: chain.dense_sum(U, none, p)))


def test_p3_6_two_even_cores_are_padded_on_opposite_sides() -> None:
    assert alignment.step_padding([(2,), (2,)], (1,)) == [((0, 1),), ((1, 0),)]


# ---- Counts.v: Theorem C ----------------------------------------------------------------------------------


@SEEDS
def test_p6_1_tensor_train_parameters(seed: int) -> None:
    generator = random.Random(seed)
    shape = [generator.randint(1, 4) for _ in range(seed % 4 + 1)]
    r = [generator.randint(1, 4) for _ in range(len(shape) + 1)]
    train = TensorTrain([torch.zeros(r[l], n, r[l + 1]) for l, n in enumerate(shape)])
    positions = [
        (l, i, a, b) for l, n in enumerate(shape) for i in range(n) for a in range(r[l]) for b in range(r[l + 1])
    ]
    assert train.n_parameters == len(positions) == sum(n * r[l] * r[l + 1] for l, n in enumerate(shape))
    assert train.dense_parameters == r[0] * r[-1] * math.prod(shape)


@SEEDS
def test_p6_2_conv_tensor_train_parameters(seed: int) -> None:
    case = random_case(seed, biased=False)
    chain = case.chain
    groups = [chain.r[l + 1] // core.shape[1] for l, core in enumerate(case.cores)]
    train = tt.ConvTensorTrain(case.cores, groups=groups)
    on_blocks = 0  # positions of each block-diagonal core that may be non-zero
    for l, g in enumerate(groups):
        pairs = itertools.product(range(chain.r[l]), range(chain.r[l + 1]))
        a, b = chain.r[l] // g, chain.r[l + 1] // g
        on_blocks += sum(s // a == t // b for s, t in pairs) * len(list(taps(chain.deg[l])))
    formula = sum(
        chain.r[l] * (chain.r[l + 1] // g) * math.prod(e + 1 for e in chain.deg[l]) for l, g in enumerate(groups)
    )
    assert train.n_parameters == formula == on_blocks
    whole = len(list(taps(chain.extent(chain.m))))
    assert train.dense_parameters == chain.r[0] * chain.r[-1] * whole // math.gcd(*groups)


def test_p6_2_the_papers_square_cores() -> None:
    m, k, r = 3, 5, (7, 4, 3, 2)
    train = tt.ConvTensorTrain([torch.zeros(r[l], r[l + 1], k, k) for l in range(m)])
    assert train.n_parameters == sum(k**2 * r[l] * r[l + 1] for l in range(m))
    assert train.dense_parameters == (m * (k - 1) + 1) ** 2 * r[0] * r[m]


# ---- Sweep.v: the a-priori bound --------------------------------------------------------------------------


def overlap(D: Position, E: Position, c: Position) -> int:
    return sum(all(i + j == k for i, j, k in zip(a, b, c, strict=True)) for a in taps(D) for b in taps(E))


@SEEDS
def test_p7_2_the_lift_divides_by_the_overlap(seed: int) -> None:
    """`fold_lift` and `overlap_le`: the counts themselves are lifted to ones, exactly."""
    generator = random.Random(seed)
    D = tuple(generator.randint(0, 3) for _ in range(seed % 3 + 1))
    E = tuple(generator.randint(0, 3) for _ in D)
    F = tuple(d + e for d, e in zip(D, E, strict=True))
    counts = [overlap(D, E, c) for c in taps(F)]
    weight = torch.tensor(counts, dtype=torch.float64).reshape(1, 1, 1, *(f + 1 for f in F))
    assert torch.equal(
        lift(weight, tuple(d + 1 for d in D)),
        torch.ones(1, math.prod(d + 1 for d in D), math.prod(e + 1 for e in E), dtype=torch.float64),
    )
    assert max(counts) == math.prod(min(d + 1, e + 1) for d, e in zip(D, E, strict=True))


@SEEDS
def test_p7_5_the_sweep_meets_the_hypotheses_and_the_bound(seed: int) -> None:
    """`orthonormal`, `next` and `svd` for the library's split, and `sweep_bound` for its sweep."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [tuple(torch.randint(1, 4, (2,), generator=generator).tolist()) for _ in range(seed % 3 + 2)]
    whole = tuple(sum(k - 1 for k in axis) + 1 for axis in zip(*sizes, strict=True))
    weight = torch.randn(1, 3, 4, *whole, generator=generator, dtype=torch.float64)
    ranks = [int(torch.randint(1, 5, (), generator=generator)) for _ in sizes[1:]]

    matrix = lift(weight, sizes[0])[0]
    X, rest, discarded = split(weight, sizes[0], ranks[0])
    X = X[0].movedim(1, -1).movedim(0, -2).reshape(-1, X.shape[2])
    Y = rest[0].movedim(1, -1).reshape(X.shape[1], -1)
    torch.testing.assert_close(X.T @ X, torch.eye(X.shape[1], dtype=torch.float64))
    torch.testing.assert_close(Y, X.T @ matrix)
    assert math.isclose(discarded, float((matrix - X @ Y).square().sum()), rel_tol=1e-9, abs_tol=1e-10)

    factor, bound, left = 1, 0.0, weight
    for size, rank in zip(sizes[:-1], ranks, strict=True):
        remaining = [k - s + 1 for k, s in zip(left.shape[3:], size, strict=True)]
        factor *= math.prod(min(s, k) for s, k in zip(size, remaining, strict=True))
        _, left, tail = split(left, size, rank)
        bound += factor * tail
    cores, claimed = sweep(weight, sizes, ranks)
    assert math.isclose(claimed, bound, rel_tol=1e-9, abs_tol=1e-10)
    error = tt.ConvTensorTrain([core[0] for core in cores]).reconstruct() - weight[0]
    assert float(error.square().sum()) <= bound * (1 + 1e-9) + 1e-10
