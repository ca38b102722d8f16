"""The machine-checked proofs compile without axioms, and proofs/README.md lists every theorem of theirs."""

import re
import shutil
from pathlib import Path

import pytest

from tests.support.proofs import CLOSED, IEEE, PROOFS, SOURCES, Copy, compiled, make, names

THEOREMS = names("Theorem|Corollary")


def test_every_theorem_is_proved_without_axioms(proofs: Copy) -> None:
    report = "\n" + proofs.report("all")
    for theorem in names("Theorem|Corollary", CLOSED):
        assert f"\n{theorem}\nClosed under the global context\n" in report


def test_what_is_compiled_is_taken_while_it_is_of_the_same_text(proofs: Copy, tmp_path: Path) -> None:
    proofs.report("tools")
    shutil.copy(PROOFS / "Makefile", tmp_path)
    (tmp_path / "First.v").write_text("Theorem one : 1 = 1.\nProof. reflexivity. Qed.\n")
    (tmp_path / "Second.v").write_text("Theorem two : 2 = 2.\nProof. reflexivity. Qed.\n")
    assert compiled(tmp_path) == []
    assert make(tmp_path, "First.vo", "Second.vo").returncode == 0
    assert compiled(tmp_path) == [tmp_path / "First.vo", tmp_path / "Second.vo"]
    (tmp_path / "First.v").write_text("Theorem one : False -> 1 = 1.\nProof. reflexivity. Qed.\n")
    assert compiled(tmp_path) == [tmp_path / "Second.vo"]
    (tmp_path / "Second.vo").write_bytes(b"another")
    assert compiled(tmp_path) == []
    assert make(tmp_path, "First.vo").returncode == 0
    assert compiled(tmp_path) == [tmp_path / "First.vo"]
    (tmp_path / "Makefile").write_text((tmp_path / "Makefile").read_text().replace("-q", "-type-in-type"))
    assert compiled(tmp_path) == []


def test_an_axiom_is_noticed(proofs: Copy, tmp_path: Path) -> None:
    proofs.report("all")
    (tmp_path / "Makefile").write_text((PROOFS / "Makefile").read_text())
    (tmp_path / "Cheat.v").write_text("Axiom cheat : 0 = 1.\nTheorem one_is_zero : 0 = 1.\nProof. exact cheat. Qed.\n")
    done = make(tmp_path, "assumptions", "SOURCES=Cheat.v")
    assert done.returncode == 2
    assert "one_is_zero\nAxioms:\ncheat" in done.stdout


def test_ieee_numbers_rest_on_the_axioms_of_the_reals_alone(proofs: Copy) -> None:
    """`make` compares with its list and fails on others."""
    report = "\n" + proofs.report("ieee", needs="flocq")
    for theorem in names("Theorem|Corollary", [IEEE]):
        assert f"\n{theorem}\nAxioms:\n" in report


def test_an_axiom_is_noticed_beside_those_of_the_reals(proofs: Copy, tmp_path: Path) -> None:
    proofs.report("ieee", needs="flocq")
    folder = shutil.copytree(proofs.folder, tmp_path / "proofs")
    (folder / "IEEE.v").write_text(
        "From Coq Require Import Reals.\nTheorem zero (x : R) : (x + 0 = x)%R.\nProof. exact (Rplus_0_r x). Qed.\n"
        "Axiom cheat : False.\nTheorem absurd : False.\nProof. exact cheat. Qed.\n"
    )
    done = make(folder, "ieee")
    assert done.returncode == 2
    assert "\nzero\nAxioms:\n" in done.stdout
    assert done.stdout.endswith("\ncheat\n")


def test_make_says_that_flocq_is_missing(proofs: Copy) -> None:
    proofs.report("all")
    done = make(proofs.folder, "ieee", "FLOCQ=NoSuchLibrary")
    assert done.returncode == 0
    assert "libcoq-flocq" in done.stdout


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
    checked = (PROOFS / "README.md").read_text().partition("## Part 2")[2].partition("### On paper only")[0]
    rows = re.findall(r"^\| P\S.*?\|(.*?)\|", checked, flags=re.MULTILINE)
    assert sorted(name for row in rows for name in re.findall(r"`(\w+)`", row)) == sorted(THEOREMS)
