"""The proofs, compiled once for all test files and processes, and what needs them."""

import os
from pathlib import Path

import pytest

from tests.support.proofs import Copy


@pytest.fixture(scope="session")
def proofs(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """A copy of the proofs that is compiled from nothing; tests that use it are skipped where Coq is absent."""
    base = tmp_path_factory.getbasetemp()
    return Copy((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "proofs")


@pytest.fixture(scope="session")
def program(proofs: Copy) -> Path:
    """The oracle, extracted and compiled; skipped, with the reason, where Coq or OCaml are absent."""
    proofs.report("oracle", needs="ocaml")
    return proofs.folder / "oracle" / "build" / "oracle"
