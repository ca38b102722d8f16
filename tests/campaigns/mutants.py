"""A campaign of mutated files, in every format that either package reads.

    python tests/campaigns/mutants.py --count 10000 --seed 0 --seconds 900

A mutant is a good file with some bytes changed, cut, inserted, repeated or removed; or a well-formed file with odd
content: a value of another type or size, a missing or an additional entry, deep nesting. Each is read in a forked
process, with its time and memory measured. It may be refused by a named error of the package, or accepted with the
content of the good file; where no checksum covers the content, with other content too. Everything else counts as a
violation: a foreign exception, a crash, other content in spite of a checksum, ten seconds or a gigabyte more than the
good file takes. The program prints a table and fails if there is any violation.
"""

import argparse
import copy
import csv
import hashlib
import io
import json
import os
import pickle
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from tensortrain.errors import TensorTrainError
from tests.campaigns.formats import FORMATS, Format
from zoo.errors import ZooError

SECONDS, BYTES = 10, 2**30  # beyond what the good file takes
BATCH = 25  # mutants that one process reads
OUTCOMES = ("refused", "same content", "other content")
VIOLATIONS = ("foreign error", "crash", "silent", "slow", "memory")
ODD_VALUES: list[Any] = [
    None, True, -1, 0, 2**70, 1.5, 1e308, float("nan"), float("inf"), "", "x" * 2000, "../../etc/passwd", [], {}, [[]],
    {"a": {"b": 1}}, "9" * 5000,
]  # fmt: skip
ODD_TENSORS: list[Any] = [
    torch.zeros(0), torch.zeros(2, 2), torch.full((1,), float("nan")), torch.zeros(1, dtype=torch.int64),
    torch.zeros(3, dtype=torch.complex64), torch.zeros(1, 1, 1, 1, 1, 1), torch.zeros(1).to(torch.float8_e5m2),
    torch.eye(2).to_sparse(), torch.zeros(1).expand(2**20),
]  # fmt: skip


@dataclass
class Row:
    """One line of the table."""

    name: str
    outcomes: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    @property
    def tried(self) -> int:
        """Number of mutants."""
        return sum(self.outcomes.values())


# ---- mutations ------------------------------------------------------------------------------------------------


def mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    """The bytes of a file with one or a few of them changed, cut, inserted, repeated or removed."""
    data = bytearray(content)
    # half of the places lie in the first part, where headers are
    limit = len(data) if rng.random() < 0.5 else min(len(data), 512)
    at = rng.randrange(max(1, limit))
    length = rng.choice((1, 2, 4, 16, 300))
    kind = rng.choice(("bit", "byte", "several", "truncate", "remove", "insert", "repeat", "zeros", "ones", "empty"))
    if kind == "bit":
        data[at] ^= 1 << rng.randrange(8)
    elif kind == "byte":
        data[at] = rng.randrange(256)
    elif kind == "several":
        for _ in range(rng.randrange(2, 20)):
            data[rng.randrange(limit)] = rng.randrange(256)
    elif kind == "truncate":
        del data[at:]
    elif kind == "remove":
        del data[at : at + length]
    elif kind == "insert":
        data[at:at] = rng.randbytes(length)
    elif kind == "repeat":
        data[at:at] = data[at : at + length]
    elif kind in ("zeros", "ones"):
        data[at : at + length] = bytes([0 if kind == "zeros" else 255]) * len(data[at : at + length])
    else:
        data.clear()
    return bytes(data)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all entries inside nested mappings and lists."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in entries:
        yield (*path, key)
        yield from places(item, (*path, key))


def mutate_structure(value: Any, rng: random.Random, odd: list[Any]) -> Any:
    """A copy of nested plain data with an entry replaced, removed, added, or nested ever deeper."""
    value = copy.deepcopy(value)
    paths = list(places(value))
    if not paths:
        return rng.choice(odd)
    *inside, last = rng.choice(paths)
    owner = value
    for key in inside:
        owner = owner[key]
    kind = rng.choice(("replace", "replace", "replace", "remove", "add", "rename", "nest", "whole"))
    if kind == "replace":
        owner[last] = rng.choice(odd)
    elif kind == "remove":
        del owner[last]
    elif kind == "add" and isinstance(owner, dict):
        owner[rng.choice(("extra", "", "weight", "format"))] = rng.choice(odd)
    elif kind == "rename" and isinstance(owner, dict):
        owner[f"{last}_"] = owner.pop(last)
    elif kind == "nest":
        deep: Any = owner[last]
        for _ in range(rng.choice((3, 200))):
            deep = [deep]
        owner[last] = deep
    else:
        return rng.choice(odd)
    return value


def mutate_csv(content: bytes, rng: random.Random) -> bytes:
    """A table with a cell, a row or a column replaced, removed or repeated."""
    rows = list(csv.reader(io.StringIO(content.decode())))
    row = rng.randrange(len(rows))
    kind = rng.choice(("cell", "remove row", "repeat row", "remove column", "swap", "extra"))
    if kind == "cell":
        rows[row][rng.randrange(len(rows[row]))] = str(rng.choice(ODD_VALUES))
    elif kind == "remove row":
        del rows[row]
    elif kind == "repeat row":
        rows.insert(row, list(rows[row]))
    elif kind == "remove column":
        column = rng.randrange(len(rows[0]))
        rows = [r[:column] + r[column + 1 :] for r in rows]
    elif kind == "swap":
        rows[row], rows[-1] = rows[-1], rows[row]
    else:
        rows[row] += ["x"] * rng.choice((1, 1000))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def mutate(kind: str, content: bytes, rng: random.Random) -> tuple[bytes, bool]:
    """A mutant of a file, and whether it is well-formed: written anew after its structure was changed."""
    if not kind or rng.random() < 0.5:
        return mutate_bytes(content, rng), False
    if kind == "json":
        return json.dumps(mutate_structure(json.loads(content), rng, ODD_VALUES)).encode(), True
    if kind == "yaml":
        return yaml.safe_dump(mutate_structure(yaml.safe_load(content), rng, ODD_VALUES)).encode(), True
    if kind == "csv":
        return mutate_csv(content, rng), True
    if kind == "text":
        lines = content.split(b"\n")
        line = rng.randrange(len(lines))
        lines[line] = rng.choice((b"", lines[line] * 2, b"person99_x_d9\tframes\t1-2", b"\t\t", lines[line][::-1]))
        return b"\n".join(lines), True
    value = torch.load(io.BytesIO(content), weights_only=True)
    written = io.BytesIO()
    torch.save(mutate_structure(value, rng, ODD_VALUES + ODD_TENSORS), written)
    return written.getvalue(), True


# ---- reading --------------------------------------------------------------------------------------------------


def fingerprint(value: Any) -> str:
    """A hash of nested plain values, arrays and tensors."""
    total = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, dict):
            for key in sorted(value, key=repr):
                add(key)
                add(value[key])
        elif isinstance(value, list | tuple):
            total.update(str(len(value)).encode())
            for item in value:
                add(item)
        elif isinstance(value, Tensor):
            value = value.to_dense() if value.layout != torch.strided else value
            add(value.detach().contiguous().view(-1).view(torch.uint8).numpy())
            total.update(f"{tuple(value.shape)}{value.dtype}".encode())
        elif isinstance(value, np.ndarray):
            total.update(f"{value.shape}{value.dtype}".encode() + np.ascontiguousarray(value).tobytes())
        else:
            total.update(repr(value).encode())

    add(value)
    return total.hexdigest()


@dataclass(frozen=True)
class Reading:
    """What reading a file came to.

    Attributes:
        outcome: "refused", "accepted", or a violation.
        detail: the fingerprint of what was accepted, or the message of an error.
        seconds: of the processor and of waiting.
        memory: bytes of resident memory at the peak, beyond those at the beginning.
    """

    outcome: str
    detail: str
    seconds: float
    memory: int


class Case:
    """A format in a scratch folder: its good files, and a copy of them in which one is replaced by mutants."""

    def __init__(self, form: Format, scratch: Path) -> None:
        self.form, self.good, self.folder = form, scratch / "good", scratch / "mutant"
        self.good.mkdir()
        written = self._write()
        self.content = (self.good / written).read_bytes()
        self.target = self.folder / written
        self.copy()

    def _write(self) -> str:
        """Write the good files in a forked process, for a process that has started threads must not fork others."""
        pipe, end = os.pipe()
        process = os.fork()
        if not process:
            os.close(pipe)
            path = self.form.write(self.good)
            os.write(end, str(path.relative_to(self.good)).encode())
            os._exit(0)
        os.close(end)
        with os.fdopen(pipe, "rb") as file:
            name = file.read().decode()
        os.waitpid(process, 0)
        if not name:
            raise SystemExit(f"{self.form.name}: no good file can be written")
        return name

    def copy(self) -> None:
        """The good files once more, for a reader that changes them."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.good, self.folder)

    def remove(self) -> None:
        """Remove all files."""
        shutil.rmtree(self.good)
        shutil.rmtree(self.folder)

    def read_all(self, mutants: Sequence[bytes]) -> list[Reading]:
        """Read mutants one after the other in a forked process; another one goes on where that was ended."""
        readings: list[Reading] = []
        while len(readings) < len(mutants):
            pipe, end = os.pipe()
            process = os.fork()
            if not process:
                os.close(pipe)
                self._report_all(mutants[len(readings) :], end)
            os.close(end)
            start = time.monotonic()
            with os.fdopen(pipe, "rb") as file:
                while len(readings) < len(mutants) and (head := file.read(4)):
                    readings.append(pickle.loads(file.read(int.from_bytes(head, "big"))))
                    start = time.monotonic()
            code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            if code:
                outcome = "slow" if code == -signal.SIGALRM else "crash"
                readings.append(Reading(outcome, f"ended with {code}", time.monotonic() - start, 0))
        return readings

    def _report_all(self, mutants: Sequence[bytes], end: int) -> None:
        """In the forked process: read, write each outcome to the pipe, and end."""
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        with os.fdopen(end, "wb") as file:
            for mutant in mutants:
                if self.form.changes:
                    self.copy()
                self.target.write_bytes(mutant)
                signal.alarm(SECONDS + 20)
                report = pickle.dumps(self._read())
                file.write(len(report).to_bytes(4, "big") + report)
                file.flush()
        os._exit(0)

    def _read(self) -> Reading:
        """Read the file once."""
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
        try:
            outcome, detail = "accepted", fingerprint(self.form.read(self.folder))
        except (TensorTrainError, ZooError) as error:
            outcome, detail = "refused", str(error)
        except BaseException as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            line = f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
            outcome, detail = "foreign error", " ".join(line.split())[:300]
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return Reading(outcome, detail, time.monotonic() - start, (after - before) * 1024)


class Campaign:
    """Mutates the files of all formats in turn until a number or a time is reached."""

    def __init__(self, scratch: Path, seed: int) -> None:
        self.scratch, self.seed = scratch, seed
        self.rows: list[Row] = []

    def run(self, count: int, seconds: float, keep: Path | None, formats: Sequence[Format]) -> None:
        """Read as many mutants; what violates a promise is copied to the folder `keep`."""
        deadline = time.monotonic() + seconds
        for at, form in enumerate(formats):
            share = -(-count // len(formats))
            left = (deadline - time.monotonic()) / (len(formats) - at)
            self.rows.append(self.try_format(form, share, time.monotonic() + left, keep))

    def try_format(self, form: Format, count: int, deadline: float, keep: Path | None) -> Row:
        """Read mutants of one format."""
        row, rng = Row(form.name), random.Random(f"{self.seed} {form.name}")
        case = Case(form, self.scratch)
        (good,) = case.read_all([case.content])
        if good.outcome != "accepted":
            raise SystemExit(f"{form.name}: the good file is not accepted: {good.detail}")
        while row.tried < count and time.monotonic() < deadline:
            mutants = [mutate(form.kind, case.content, rng) for _ in range(min(BATCH, count - row.tried))]
            readings = case.read_all([mutant for mutant, _ in mutants])
            for (mutant, well_formed), reading in zip(mutants, readings, strict=True):
                checked = form.checked == "content" or (form.checked == "bytes" and not well_formed)
                outcome, detail = self.judge(good, reading, checked)
                row.outcomes[outcome] += 1
                if (
                    outcome in VIOLATIONS
                    and len(row.examples) < 20
                    and f"{outcome}: {detail}" not in row.examples.values()
                ):
                    name = f"{form.name.replace(' ', '-').replace(':', '').replace(',', '')}-{row.tried}"
                    row.examples[name] = f"{outcome}: {detail}"
                    if keep is not None:
                        keep.mkdir(parents=True, exist_ok=True)
                        (keep / f"{name}{case.target.suffix}").write_bytes(mutant)
        case.remove()
        return row

    @staticmethod
    def judge(good: Reading, reading: Reading, checked: bool) -> tuple[str, str]:
        """The outcome of a mutant, and what to say of it; `checked`: whether a checksum tells it from the good file."""
        if reading.outcome in VIOLATIONS:
            return reading.outcome, reading.detail
        if reading.outcome == "refused":
            if reading.seconds > good.seconds + SECONDS:
                return "slow", f"{reading.seconds:.1f} s before: {reading.detail}"
            if reading.memory > good.memory + BYTES:
                return "memory", f"{reading.memory / 2**20:.0f} MiB before: {reading.detail}"
            return "refused", ""
        if reading.detail == good.detail:
            return "same content", ""
        return ("silent", "accepted with other content") if checked else ("other content", "")


def table(rows: list[Row]) -> str:
    """The counts of each outcome by format."""
    columns = (*OUTCOMES, *VIOLATIONS)
    lines = [f"{'format':28s}{'tried':>7s}" + "".join(f"{column:>15s}" for column in columns)]
    total: Counter[str] = Counter()
    for row in rows:
        total += row.outcomes
        lines.append(f"{row.name:28s}{row.tried:7d}" + "".join(f"{row.outcomes[column]:15d}" for column in columns))
    lines.append(f"{'all':28s}{sum(total.values()):7d}" + "".join(f"{total[column]:15d}" for column in columns))
    return "\n".join(lines)


def run(count: int, seed: int, seconds: float, keep: Path | None, formats: Sequence[Format]) -> list[Row]:
    """Run a campaign in a scratch folder."""
    torch.set_num_threads(1)
    import zoo.data
    import zoo.training

    assert zoo.data
    assert zoo.training  # imported here, so that the forked processes need not
    with tempfile.TemporaryDirectory() as scratch:
        campaign = Campaign(Path(os.path.realpath(scratch)), seed)
        campaign.run(count, seconds, keep, formats)
    return campaign.rows


def main() -> None:
    """Run the campaign and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=900)
    names = [form.name for form in FORMATS]
    parser.add_argument("--formats", nargs="+", choices=names, default=names, metavar="FORMAT", help="all by default")
    parser.add_argument("--keep", type=Path, help="folder for the mutants that violate a promise")
    arguments = parser.parse_args()
    formats = [form for form in FORMATS if form.name in arguments.formats]
    rows = run(arguments.count, arguments.seed, arguments.seconds, arguments.keep, formats)
    print(table(rows))
    for row in rows:
        for name, text in row.examples.items():
            print(f"    {name}: {text}")
    sys.exit(any(row.outcomes[violation] for row in rows for violation in VIOLATIONS))


if __name__ == "__main__":
    main()
