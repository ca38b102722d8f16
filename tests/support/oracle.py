"""The oracle: the programs of `proofs/Programs.v`, extracted to OCaml, run on random calls of the library.

    python -m tests.support.oracle --count 1000000

draws that many calls and demands that the library's values are the oracle's, bit by bit. The calls are integers in
float64, small enough that no sum rounds and large enough that many results exceed 2^24. `--record` writes 200 short
calls and the oracle's answers to `tests/reference/`, for machines without OCaml.
"""

import argparse
import itertools
import math
import random
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tensortrain.conv.conv_tensor_train import ConvTensorTrain
from tensortrain.conv.functional import conv_sum, conv_tt
from tensortrain.tt.matrix import TensorTrainMatrix
from tensortrain.tt.tensor_train import TensorTrain
from tests.support.proofs import PROOFS, make

CALLS = Path(__file__).parents[1] / "reference" / "oracle_calls.txt"
ANSWERS = CALLS.with_name("oracle_answers.txt")
MODES = ("same", "same_per_step", "valid", "full", "circular")
LARGEST = {1: (4, 6), 2: (3, 4), 3: (2, 2)}  # axes: longest kernel, most pixels beside its reach
EXACT = 2**53

Axes = tuple[int, ...]
Numbers = tuple[int, ...]


def tensor(values: Iterable[int], *shape: int) -> Tensor:
    return torch.tensor(list(values), dtype=torch.float64).reshape(shape)


def tokens(values: Numbers | None) -> Iterator[int]:
    """An array that may be missing, as the oracle reads it: 1 and the numbers, or 0."""
    yield from (0,) if values is None else (1, *values)


@dataclass(frozen=True)
class Train:
    """A call of `TensorTrain.evaluate` on a batch; arrays are flat, last axis fastest."""

    batch: int
    ranks: Axes
    shape: Axes
    cores: tuple[Numbers, ...]
    inputs: tuple[Numbers, ...]

    def text(self) -> str:
        head = ("train", len(self.shape), self.batch, *self.ranks, *self.shape)
        return " ".join(map(str, (*head, *itertools.chain(*self.cores, *self.inputs))))

    @classmethod
    def read(cls, words: Iterator[str]) -> "Train":
        order, batch = int(next(words)), int(next(words))
        ranks, shape = take(words, order + 1), take(words, order)
        cores = [take(words, ranks[l] * shape[l] * ranks[l + 1]) for l in range(order)]
        return cls(batch, ranks, shape, tuple(cores), tuple(take(words, batch * size) for size in shape))

    def tensors(self) -> tuple[TensorTrain, list[Tensor]]:
        cores = [
            tensor(core, self.ranks[l], size, self.ranks[l + 1])
            for l, (core, size) in enumerate(zip(self.cores, self.shape, strict=True))
        ]
        return TensorTrain(cores), [
            tensor(u, self.batch, size) for u, size in zip(self.inputs, self.shape, strict=True)
        ]

    def library(self) -> Tensor:
        train, inputs = self.tensors()
        return train.evaluate(inputs).reshape(self.batch, self.ranks[0], self.ranks[-1])

    def dense_library(self) -> Tensor | None:
        train, inputs = self.tensors()
        return train.evaluate_dense(inputs).reshape(self.batch, self.ranks[0], self.ranks[-1])

    def largest(self) -> int:
        """A bound on every sum that an evaluation forms."""
        value = 1
        for l, (core, u) in enumerate(zip(self.cores, self.inputs, strict=True)):
            value *= self.ranks[l] * self.shape[l] * peak(core) * peak(u)
        return value


@dataclass(frozen=True)
class Product:
    """A TT-matrix times a vector; arrays are flat, last axis fastest."""

    ranks: Axes
    rows: Axes
    columns: Axes
    cores: tuple[Numbers, ...]
    vector: Numbers

    def text(self) -> str:
        head = ("matrix", len(self.rows), *self.ranks, *self.rows, *self.columns)
        return " ".join(map(str, (*head, *itertools.chain(*self.cores), *self.vector)))

    @classmethod
    def read(cls, words: Iterator[str]) -> "Product":
        order = int(next(words))
        ranks, rows, columns = take(words, order + 1), take(words, order), take(words, order)
        cores = [take(words, ranks[l] * rows[l] * columns[l] * ranks[l + 1]) for l in range(order)]
        return cls(ranks, rows, columns, tuple(cores), take(words, math.prod(columns)))

    def library(self) -> Tensor:
        shapes = zip(self.ranks, self.rows, self.columns, self.ranks[1:], strict=False)
        cores = [tensor(core, *shape) for core, shape in zip(self.cores, shapes, strict=True)]
        return (TensorTrainMatrix(cores) @ tensor(self.vector, len(self.vector))).reshape(self.rows)

    def dense_library(self) -> Tensor | None:
        return None

    def largest(self) -> int:
        """A bound on every sum that an evaluation forms."""
        value = peak(self.vector)
        for l, core in enumerate(self.cores):
            value *= self.ranks[l] * self.columns[l] * peak(core)
        return value


@dataclass(frozen=True)
class Chain:
    """A call of `conv_tt`; arrays are flat, last axis fastest."""

    padding: str
    batch: int
    stop: int
    size: Axes
    dilation: Axes
    stride: Axes
    ranks: Axes
    groups: Axes
    degrees: tuple[Axes, ...]
    cores: tuple[Numbers, ...]
    inputs: tuple[Numbers | None, ...]
    biases: tuple[Numbers | None, ...]

    def text(self) -> str:
        head = ("chain", self.padding, len(self.size), len(self.cores), self.batch, self.stop)
        shapes = (*self.size, *self.dilation, *self.stride, *self.ranks, *self.groups, *itertools.chain(*self.degrees))
        arrays = itertools.chain(*self.cores, *map(tokens, self.inputs), *map(tokens, self.biases))
        return " ".join(map(str, (*head, *shapes, *arrays)))

    @classmethod
    def read(cls, words: Iterator[str]) -> "Chain":
        padding = next(words)
        axes, order, batch, stop = take(words, 4)
        size, dilation, stride = take(words, axes), take(words, axes), take(words, axes)
        ranks, groups = take(words, order + 1), take(words, order)
        degrees = tuple(take(words, axes) for _ in range(order))
        cores = [take(words, math.prod(core_shape(ranks, groups, degrees, l))) for l in range(order)]
        inputs = [take(words, batch * ranks[l + 1] * math.prod(size) * int(next(words))) for l in range(order)]
        biases = [take(words, ranks[l] * int(next(words))) for l in range(order)]
        arrays = tuple(cores), tuple(u or None for u in inputs), tuple(b or None for b in biases)
        return cls(padding, batch, stop, size, dilation, stride, ranks, groups, degrees, *arrays)

    def tensors(self) -> tuple[list[Tensor], list[Tensor | None]]:
        cores = [
            tensor(core, *core_shape(self.ranks, self.groups, self.degrees, l)) for l, core in enumerate(self.cores)
        ]
        inputs = [
            None if u is None else tensor(u, self.batch, self.ranks[l], *self.size)
            for l, u in enumerate(self.inputs, start=1)
        ]
        return cores, inputs

    def library(self) -> Tensor:
        cores, inputs = self.tensors()
        biases = [None if b is None else tensor(b, len(b)) for b in self.biases]
        return conv_tt(cores, inputs, biases, self.padding, self.stop, stride=self.stride, dilation=self.dilation)

    def dense_library(self) -> Tensor | None:
        """The sum of eq. (5) with the composed kernels; None where the library has no such form."""
        if self.stop or any(self.biases) or self.padding == "same_per_step":
            return None
        cores, inputs = self.tensors()
        kernels = ConvTensorTrain(cores, groups=self.groups).kernels()
        return conv_sum(kernels, inputs, self.padding, stride=self.stride, dilation=self.dilation)

    def largest(self) -> int:
        """A bound on every sum of either form; an absent input counts as 1, as the dense form composes its kernel."""
        value = 0
        for l in reversed(range(len(self.cores))):
            terms = self.ranks[l + 1] // self.groups[l] * math.prod(k + 1 for k in self.degrees[l])
            value = terms * peak(self.cores[l]) * (value + peak(self.inputs[l] or (1,))) + peak(self.biases[l])
        return value


Call = Train | Product | Chain


def take(words: Iterator[str], count: int) -> Numbers:
    return tuple(int(next(words)) for _ in range(count))


def peak(values: Numbers | None) -> int:
    return max(map(abs, values)) if values else 0


def core_shape(ranks: Axes, groups: Axes, degrees: Sequence[Axes], l: int) -> Axes:
    return (ranks[l], ranks[l + 1] // groups[l], *(k + 1 for k in degrees[l]))


def read(text: str) -> list[Call]:
    """The calls that `text` gives to the oracle."""
    words = iter(text.split())
    kinds = {"train": Train.read, "matrix": Product.read, "chain": Chain.read}
    return [kinds[word](words) for word in words]


# ---- random calls -----------------------------------------------------------------------------------------


def draw(seed: int) -> Call:
    """The call of this number: chains, and every eighth a standard train or a TT-matrix; axes, order, mode in turn."""
    generator = random.Random(seed)
    call = draw_chain if seed % 8 < 7 else (draw_train, draw_product)[seed // 8 % 2]
    most = generator.choice((3, 40, 1000, 2**17, 2**22))
    while True:
        drawn = call(random.Random(seed), seed, most)
        if drawn.largest() < EXACT:
            return drawn
        most //= 4


def numbers(generator: random.Random, count: int, most: int) -> Numbers:
    return tuple(generator.randint(-most, most) for _ in range(count))


def draw_train(generator: random.Random, seed: int, most: int) -> Train:
    order, batch = seed // 16 % 4 + 1, generator.randint(1, 2)
    shape = tuple(generator.randint(1, 3) for _ in range(order))
    ranks = tuple(generator.randint(1, 3) for _ in range(order + 1))
    cores = [numbers(generator, ranks[l] * shape[l] * ranks[l + 1], most) for l in range(order)]
    inputs = [numbers(generator, batch * size, most) for size in shape]
    return Train(batch, ranks, shape, tuple(cores), tuple(inputs))


def draw_product(generator: random.Random, seed: int, most: int) -> Product:
    order = seed // 16 % 3 + 1
    rows, columns = (tuple(generator.randint(1, 3) for _ in range(order)) for _ in range(2))
    ranks = (1, *(generator.randint(1, 3) for _ in range(order - 1)), 1)
    cores = [numbers(generator, ranks[l] * rows[l] * columns[l] * ranks[l + 1], most) for l in range(order)]
    return Product(ranks, rows, columns, tuple(cores), numbers(generator, math.prod(columns), most))


def draw_chain(generator: random.Random, seed: int, most: int) -> Chain:
    """Room for the whole kernel under `valid`, else in every second image; a stride only where stop is 0."""
    axes, order, padding = seed % 3 + 1, seed // 3 % 3 + 1, MODES[seed % 5]
    longest, largest = LARGEST[axes]
    degrees = tuple(tuple(generator.randrange(longest) for _ in range(axes)) for _ in range(order))
    dilation = tuple(generator.randint(1, 2) for _ in range(axes))
    room = padding == "valid" or generator.random() < 0.5
    reach = [room * d * sum(k) for d, k in zip(dilation, zip(*degrees, strict=True), strict=True)]
    size = tuple(e + generator.randint(1, largest) for e in reach)
    batch = generator.randint(1, 2)
    groups = tuple(generator.randint(1, 2) for _ in range(order))
    ranks = tuple(math.lcm(*groups[max(l - 1, 0) : l + 1]) * generator.randint(1, 2) for l in range(order + 1))
    cores = [numbers(generator, math.prod(core_shape(ranks, groups, degrees, l)), most) for l in range(order)]
    top = generator.randint(1, order)
    inputs = [
        numbers(generator, batch * ranks[l] * math.prod(size), most)
        if l == top or (l < top and generator.random() < 0.5)
        else None
        for l in range(1, order + 1)
    ]
    biases = [numbers(generator, ranks[l], most) if generator.random() < 0.4 else None for l in range(order)]
    stop = generator.randrange(top) if generator.random() < 0.4 else 0
    stride = tuple(1 if stop else generator.choice((1, 1, 2, 3)) for _ in range(axes))
    arrays = tuple(cores), tuple(inputs), tuple(biases)
    return Chain(padding, batch, stop, size, dilation, stride, ranks, groups, degrees, *arrays)


# ---- asking -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What the oracle says of one call: the result's shape, its values, and those that eq. (5) or (2) must equal."""

    shape: Axes
    values: list[int]
    dense: list[int | None]

    @classmethod
    def read(cls, shape: str, values: str, dense: str) -> "Answer":
        words = [None if word == "x" else int(word) for word in dense.split()]
        return cls(tuple(map(int, shape.split())), list(map(int, values.split())), words)

    def fault(self, *results: Tensor | None) -> str | None:
        """How the first of the library's results that differs does so; None where all are equal bit by bit."""
        if any(d not in (None, v) for v, d in zip(self.values, self.dense, strict=True)):
            return "the oracle's two forms differ"
        for library in results:
            if library is None:
                continue
            if tuple(library.shape) != self.shape:
                return f"shape {tuple(library.shape)} in place of {self.shape}"
            if wrong := int((library != tensor(self.values, *self.shape)).sum()):
                return f"{wrong} of {len(self.values)} values differ"
        return None


def run(program: Path, text: str) -> str:
    return subprocess.run([program], input=text, capture_output=True, text=True, check=True).stdout


def ask(program: Path, calls: Sequence[Call]) -> list[Answer]:
    return answers(run(program, "\n".join(call.text() for call in calls)))


def answers(text: str) -> list[Answer]:
    lines = text.splitlines()
    return [Answer.read(*lines[i : i + 3]) for i in range(0, len(lines), 3)]


def check(program: Path, seeds: Sequence[int]) -> tuple[list[str], int]:
    """Descriptions of the calls that differ, and how many results exceed 2^24."""
    calls = [draw(seed) for seed in seeds]
    faults, large = [], 0
    for seed, call, answer in zip(seeds, calls, ask(program, calls), strict=True):
        fault = answer.fault(call.library(), call.dense_library())
        large += peak(tuple(answer.values)) > 2**24
        if fault:
            faults.append(f"call {seed}: {fault}\n{call.text()}")
    return faults, large


def record(program: Path, count: int = 200, longest: int = 900) -> None:
    """Write the first `count` calls whose text has at most `longest` characters, and their answers."""
    short = (text for text in (draw(seed).text() for seed in itertools.count()) if len(text) <= longest)
    calls = "\n".join(itertools.islice(short, count)) + "\n"
    CALLS.write_text(calls)
    ANSWERS.write_text(run(program, calls))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="how many calls")
    parser.add_argument("--first", type=int, default=0, help="number of the first call, to resume")
    parser.add_argument("--record", action="store_true", help="write the calls and answers of tests/reference")
    arguments = parser.parse_args()
    built = make(PROOFS, "oracle")
    if built.returncode:
        sys.exit(built.stdout + built.stderr)
    program = PROOFS / "oracle" / "build" / "oracle"
    if arguments.record:
        record(program)
        return
    torch.set_num_threads(1)
    start, last = time.monotonic(), arguments.first + arguments.count
    for first in range(arguments.first, last, 1000):
        seeds = range(first, min(first + 1000, last))
        faults, large = check(program, seeds)
        if faults:
            sys.exit("\n".join(faults))
        print(f"calls {seeds.start}-{seeds.stop - 1} are equal, {large} exceed 2^24; {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
