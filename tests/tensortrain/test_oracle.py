"""The library against the oracle: programs that Coq has proved to agree with the theorems, extracted to OCaml.

`proofs/Programs.v` has the programs, `programs_agree` and `tt_programs_agree` say that the recursion and the dense form
are equal for every input. Here random integer calls are evaluated by both and must be equal bit by bit. Without OCaml
or Coq the library is compared with recorded answers instead.
"""

import dataclasses
import subprocess
from pathlib import Path

import pytest

from tests.support import oracle
from tests.support.oracle import ANSWERS, CALLS, MODES, Chain, Product, Train
from tests.support.proofs import PROOFS, make


def test_a_thousand_calls_equal_the_oracle(program: Path) -> None:
    faults, large = oracle.check(program, range(1000))
    assert not faults, "\n".join(faults)
    assert large > 300  # results that float32 could not hold


def test_recorded_answers_hold_without_the_oracle() -> None:
    calls, answers = oracle.read(CALLS.read_text()), oracle.answers(ANSWERS.read_text())
    assert len(calls) == len(answers) == 200
    faults = [answer.fault(call.library(), call.dense_library()) for call, answer in zip(calls, answers, strict=True)]
    assert not any(faults), faults
    assert {call.padding for call in calls if isinstance(call, Chain)} == set(MODES)


def test_recorded_answers_are_the_oracles(program: Path) -> None:
    assert oracle.run(program, CALLS.read_text()) == ANSWERS.read_text()


def test_the_calls_reach_every_option() -> None:
    calls = [oracle.draw(seed) for seed in range(1000)]
    chains = [call for call in calls if isinstance(call, Chain)]
    trains = [call for call in calls if isinstance(call, Train)]
    assert {len(call.shape) for call in trains} == {1, 2, 3, 4}
    assert {len(call.rows) for call in calls if isinstance(call, Product)} == {1, 2, 3}
    assert sum(call.dense_library() is not None for call in chains) > 100
    assert {(c.padding, len(c.size), len(c.cores)) for c in chains} == {
        (mode, axes, order) for mode in MODES for axes in (1, 2, 3) for order in (1, 2, 3)
    }
    for mode in MODES:
        drawn = [c for c in chains if c.padding == mode]
        assert any(c.stop for c in drawn)
        assert any(max(c.stride) > 1 for c in drawn)
        assert any(max(c.dilation) > 1 for c in drawn)
        assert any(max(c.groups) > 1 for c in drawn)
        assert any(None in c.inputs and any(c.biases) for c in drawn)
        assert any(deg % 2 for c in drawn for axis in c.degrees for deg in axis)


def test_a_wrong_value_is_noticed(program: Path) -> None:
    call = oracle.draw(0)
    (answer,) = oracle.ask(program, [call])
    library = call.library()
    assert answer.fault(library) is None
    library[(0,) * library.dim()] += 1
    assert answer.fault(library) == f"1 of {library.numel()} values differ"
    assert "shape" in str(answer.fault(library[..., :0]))
    altered = dataclasses.replace(answer, dense=[0 if d is None else d + 1 for d in answer.dense])
    assert altered.fault(call.library()) == "the oracle's two forms differ"


def test_an_overflow_is_an_error(program: Path) -> None:
    large = Train(1, (1, 1, 1), (1, 1), ((2**40,), (2**40,)), ((1,), (1,)))
    with pytest.raises(subprocess.CalledProcessError) as error:
        oracle.ask(program, [large])
    assert "Overflow" in error.value.stderr


@pytest.mark.parametrize("seed", range(40))
def test_calls_are_read_as_they_are_written(seed: int) -> None:
    call = oracle.draw(seed)
    assert oracle.read(call.text()) == [call]


def test_make_says_that_ocaml_is_missing() -> None:
    tools = make(PROOFS, "tools")
    if tools.returncode:
        pytest.skip(tools.stdout.strip())
    done = make(PROOFS, "ocaml", "OCAMLOPT=no-such-program")
    assert done.returncode == 2
    assert "ocaml-nox" in done.stdout
