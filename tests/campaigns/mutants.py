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
from collections.abc import Iterator
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


def mutate(kind: str, content: bytes, rng: random.Random) -> bytes:
    """A mutant of a file: of its bytes, or in half of the cases of its structure if the format has one."""
    if not kind or rng.random() < 0.5:
        return mutate_bytes(content, rng)
    if kind == "json":
        return json.dumps(mutate_structure(json.loads(content), rng, ODD_VALUES)).encode()
    if kind == "yaml":
        return yaml.safe_dump(mutate_structure(yaml.safe_load(content), rng, ODD_VALUES)).encode()
    if kind == "csv":
        return mutate_csv(content, rng)
    if kind == "text":
        lines = content.split(b"\n")
        line = rng.randrange(len(lines))
        lines[line] = rng.choice((b"", lines[line] * 2, b"person99_x_d9\tframes\t1-2", b"\t\t", lines[line][::-1]))
        return b"\n".join(lines)
    value = torch.load(io.BytesIO(content), weights_only=True)
    written = io.BytesIO()
    torch.save(mutate_structure(value, rng, ODD_VALUES + ODD_TENSORS), written)
    return written.getvalue()


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


def read(form: Format, folder: Path) -> Reading:
    """Read the file of a format in a forked process."""
    pipe, end = os.pipe()
    start = time.monotonic()
    process = os.fork()
    if not process:
        os.close(pipe)
        _read_and_report(form, folder, end)
    os.close(end)
    with os.fdopen(pipe, "rb") as file:
        report = file.read()
    _, status, usage = os.wait4(process, 0)
    seconds = time.monotonic() - start
    if status or not report:
        code = os.waitstatus_to_exitcode(status)
        return Reading("slow" if code == -signal.SIGALRM else "crash", f"ended with {code}", seconds, 0)
    outcome, detail, before = pickle.loads(report)
    return Reading(outcome, detail, seconds, max(0, usage.ru_maxrss * 1024 - before))


def _read_and_report(form: Format, folder: Path, end: int) -> None:
    """In the forked process: read, write the outcome to the pipe, and end."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS + 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    try:
        report = ("accepted", fingerprint(form.read(folder)), before)
    except (TensorTrainError, ZooError) as error:
        report = ("refused", str(error), before)
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        line = " ".join(f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})".split())
        report = ("foreign error", line[:300], before)
    with os.fdopen(end, "wb") as file:
        file.write(pickle.dumps(report))
    os._exit(0)


class Campaign:
    """Mutates the files of all formats in turn until a number or a time is reached."""

    def __init__(self, scratch: Path, seed: int) -> None:
        self.scratch, self.seed = scratch, seed
        self.rows: list[Row] = []

    def run(self, count: int, seconds: float, keep: Path | None) -> None:
        """Read as many mutants; what violates a promise is copied to the folder `keep`."""
        deadline = time.monotonic() + seconds
        for at, form in enumerate(FORMATS):
            share = -(-count // len(FORMATS))
            left = (deadline - time.monotonic()) / (len(FORMATS) - at)
            self.rows.append(self.try_format(form, share, time.monotonic() + left, keep))

    def try_format(self, form: Format, count: int, deadline: float, keep: Path | None) -> Row:
        """Read mutants of one format."""
        row, rng = Row(form.name), random.Random(f"{self.seed} {form.name}")
        good = self.scratch / "good"
        good.mkdir()
        path = form.write(good)
        content = path.read_bytes()
        folder = self.scratch / "mutant"
        shutil.copytree(good, folder)
        reference = read(form, folder)
        if reference.outcome != "accepted":
            raise SystemExit(f"{form.name}: the good file is not accepted: {reference.detail}")
        target = folder / path.relative_to(good)
        changes_folder = form.name.endswith("resumed")
        for _ in range(count):
            if time.monotonic() > deadline:
                break
            if changes_folder:
                shutil.rmtree(folder)
                shutil.copytree(good, folder)
            mutant = mutate(form.kind, content, rng)
            target.write_bytes(mutant)
            outcome, detail = self.judge(form, reference, read(form, folder), mutant == content)
            row.outcomes[outcome] += 1
            if outcome in VIOLATIONS and len(row.examples) < 20 and detail not in row.examples.values():
                name = f"{form.name.replace(' ', '-').replace(':', '')}-{row.tried}"
                row.examples[name] = f"{outcome}: {detail}"
                if keep is not None:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{name}{path.suffix}").write_bytes(mutant)
        shutil.rmtree(good)
        shutil.rmtree(folder)
        return row

    @staticmethod
    def judge(form: Format, good: Reading, reading: Reading, unchanged: bool) -> tuple[str, str]:
        """The outcome of a mutant, and what to say of it."""
        if reading.outcome in VIOLATIONS:
            return reading.outcome, reading.detail
        if reading.outcome == "refused":
            if reading.seconds > good.seconds + SECONDS:
                return "slow", f"{reading.seconds:.1f} s before: {reading.detail}"
            if reading.memory > good.memory + BYTES:
                return "memory", f"{reading.memory / 2**20:.0f} MiB before: {reading.detail}"
            return "refused", ""
        if unchanged or reading.detail == good.detail:
            return "same content", ""
        return ("silent", "accepted with other content") if form.checked else ("other content", "")


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


def run(count: int, seed: int, seconds: float, keep: Path | None = None) -> list[Row]:
    """Run a campaign in a scratch folder."""
    torch.set_num_threads(1)
    import zoo.data
    import zoo.training

    assert zoo.data
    assert zoo.training  # imported here, so that the forked processes need not
    with tempfile.TemporaryDirectory() as scratch:
        campaign = Campaign(Path(os.path.realpath(scratch)), seed)
        campaign.run(count, seconds, keep)
    return campaign.rows


def main() -> None:
    """Run the campaign and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=900)
    parser.add_argument("--keep", type=Path, help="folder for the mutants that violate a promise")
    arguments = parser.parse_args()
    rows = run(arguments.count, arguments.seed, arguments.seconds, arguments.keep)
    print(table(rows))
    for row in rows:
        for name, text in row.examples.items():
            print(f"    {name}: {text}")
    sys.exit(any(row.outcomes[violation] for row in rows for violation in VIOLATIONS))


if __name__ == "__main__":
    main()
