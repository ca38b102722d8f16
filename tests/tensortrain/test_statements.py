"""What the proofs state, recorded: no theorem and no definition changes unnoticed.

`proofs/statements.txt` holds what Coq's `Check` says of each theorem and `Print` of each definition, so hypotheses,
types and definitions alike. After a change that is meant: `make -C proofs -s statements > proofs/statements.txt`,
and read the difference.
"""

import re

import pytest

from tests.support.proofs import PROOFS, Copy, names

RECORDED = PROOFS / "statements.txt"


def test_statements_and_definitions_are_the_recorded_ones(proofs: Copy) -> None:
    printed, recorded = (text.splitlines() for text in (proofs.report("statements"), RECORDED.read_text()))
    if printed[0] != recorded[0]:
        pytest.skip(f"statements were recorded with {recorded[0]}, this is {printed[0]}")
    assert printed == recorded


def test_every_theorem_and_definition_is_recorded() -> None:
    recorded = re.findall(r"^# \w+ (\w+)$", RECORDED.read_text(), flags=re.MULTILINE)
    assert sorted(recorded) == sorted(names("Theorem|Corollary|Definition|Fixpoint|Inductive"))
