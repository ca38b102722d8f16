"""The folder of proofs: its files, its theorems, `make` in it."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

PROOFS = Path(__file__).parents[2] / "proofs"
SOURCES = sorted(PROOFS.glob("*.v"))
IEEE = PROOFS / "IEEE.v"  # needs Flocq, and the axioms of Coq's real numbers
CLOSED = [source for source in SOURCES if source != IEEE]
COMPILED = shutil.ignore_patterns("*.vo", "*.vok", "*.vos", "*.glob", ".*.aux", "build")  # not part of a fresh copy


def names(kinds: str, sources: Iterable[Path] = SOURCES) -> list[str]:
    """The names of all statements of these kinds, such as `Theorem|Corollary`, file by file."""
    pattern = re.compile(rf"^(?:{kinds}) (\w+)", flags=re.MULTILINE)
    return [name for source in sources for name in pattern.findall(source.read_text())]


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=600)


@dataclass(frozen=True)
class Copy:
    """A fresh copy of the proofs that the processes of a test run share."""

    folder: Path

    def report(self, *targets: str, needs: str = "tools") -> str:
        """What `make` of these targets printed; made once. Skips the test if the target `needs` misses a tool."""
        report = self.folder / f"{'-'.join(targets)}.report"
        with FileLock(self.folder.with_suffix(".lock")):
            if not self.folder.exists():
                shutil.copytree(PROOFS, self.folder, ignore=COMPILED)
            tools = make(self.folder, needs)
            if tools.returncode:
                pytest.skip(tools.stdout.strip())
            if not report.exists():
                done = make(self.folder, "--silent", "-j2", "--output-sync", *targets)
                assert done.returncode == 0, done.stdout + done.stderr
                report.write_text(done.stdout)
        return report.read_text()
