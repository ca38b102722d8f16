"""The machine-checked proofs compile without axioms, and proofs/README.md lists every theorem of theirs."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

PROOFS = Path(__file__).parents[2] / "proofs"
SOURCES = sorted(PROOFS.glob("*.v"))
THEOREMS = [
    name
    for source in SOURCES
    for name in re.findall(r"^(?:Theorem|Corollary) (\w+)", source.read_text(), flags=re.MULTILINE)
]


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
