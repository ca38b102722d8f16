"""What the proofs state, recorded: no theorem and no definition changes unnoticed.

`proofs/statements.txt` holds what Coq's `Check` says of each theorem and `Print` of each definition, so hypotheses,
types and definitions alike; `statements_ieee.txt` those of the file that needs Flocq. After a change that is meant:
`make -C proofs -s statements > proofs/statements.txt`, and read the difference.
"""

import re
from pathlib import Path

import pytest

from tests.support.proofs import CLOSED, IEEE, PROOFS, Copy, names

FILES = [("statements.txt", CLOSED, (), "tools"), ("statements_ieee.txt", [IEEE], ("SOURCES=IEEE.v",), "flocq")]


@pytest.mark.parametrize(("file", "sources", "options", "needs"), FILES)
def test_statements_and_definitions_are_the_recorded_ones(
    file: str, sources: list[Path], options: tuple[str, ...], needs: str, proofs: Copy
) -> None:
    printed = proofs.report("statements", *options, needs=needs).splitlines()
    recorded = (PROOFS / file).read_text().splitlines()
    if printed[0] != recorded[0]:
        pytest.skip(f"statements were recorded with {recorded[0]}, this is {printed[0]}")
    assert printed == recorded


@pytest.mark.parametrize(("file", "sources", "options", "needs"), FILES)
def test_every_theorem_and_definition_is_recorded(
    file: str, sources: list[Path], options: tuple[str, ...], needs: str
) -> None:
    recorded = re.findall(r"^# \w+ (\w+)$", (PROOFS / file).read_text(), flags=re.MULTILINE)
    assert sorted(recorded) == sorted(names("Theorem|Corollary|Definition|Fixpoint|Inductive", sources))
