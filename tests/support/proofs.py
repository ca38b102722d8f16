"""The folder of proofs: its files, its theorems, `make` in it."""

import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

PROOFS = Path(__file__).parents[2] / "proofs"
SOURCES = sorted(PROOFS.glob("*.v"))
IEEE = PROOFS / "IEEE.v"  # needs Flocq, and the axioms of Coq's real numbers
CLOSED = [source for source in SOURCES if source != IEEE]
COMPILED = shutil.ignore_patterns(
    "*.vo", "*.vok", "*.vos", "*.glob", "*.sum", ".*.aux", "build"
)  # not part of a fresh copy


def names(kinds: str, sources: Iterable[Path] = SOURCES) -> list[str]:
    """The names of all statements of these kinds, such as `Theorem|Corollary`, file by file."""
    pattern = re.compile(rf"^(?:{kinds}) (\w+)", flags=re.MULTILINE)
    return [name for source in sources for name in pattern.findall(source.read_text())]


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=600)


def compiled(folder: Path) -> list[Path]:
    """The files that `make` has compiled there from the very texts that are there, as their digests say."""

    def is_current(file: Path) -> bool:
        names = ["Makefile", f"{file.stem}.v", file.name]
        digests = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names]
        record = file.with_suffix(".sum")
        lines = [f"{digest}  {name}" for digest, name in zip(digests, names, strict=True)]
        return record.exists() and record.read_text().splitlines() == lines

    return [file for file in sorted(folder.glob("*.vo")) if file.with_suffix(".v").exists() and is_current(file)]


@dataclass(frozen=True)
class Copy:
    """A copy of the proofs that the processes of a test run share.

    Where `make proofs` has compiled the same texts before, what it made is taken; the rest is compiled.
    """

    folder: Path

    def _create(self) -> None:
        shutil.copytree(PROOFS, self.folder, ignore=COMPILED)
        now = time.time()
        for file in compiled(PROOFS):
            copied = shutil.copyfile(file, self.folder / file.name)
            os.utime(copied, (now, now))  # newer than all texts and no older than each other, as `make` wants it

    def report(self, *targets: str, needs: str = "tools") -> str:
        """What `make` of these targets printed; made once. Skips the test if the target `needs` misses a tool."""
        report = self.folder / f"{'-'.join(targets)}.report"
        with FileLock(self.folder.with_suffix(".lock")):
            if not self.folder.exists():
                self._create()
            tools = make(self.folder, needs)
            if tools.returncode:
                pytest.skip(tools.stdout.strip())
            if not report.exists():
                done = make(self.folder, "--silent", "-j2", "--output-sync", *targets)
                hint = "after an update of Coq or mathcomp: make -C proofs clean"
                assert done.returncode == 0, f"{done.stdout}{done.stderr}{hint}"
                report.write_text(done.stdout)
        return report.read_text()
