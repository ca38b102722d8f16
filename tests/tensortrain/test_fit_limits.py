"""Ranks, budgets and tolerances: which chains a decomposition may use, and which it takes."""

import itertools
import math
import re
import time
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tensortrain import ConvTensorTrain, TensorTrainError
from tensortrain.conv import formats
from tensortrain.conv.fit import chain as chain_solver
from tensortrain.conv.fit import progress
from tensortrain.conv.fit.kernel import NormalizedKernel
from tensortrain.conv.fit.options import FEWEST, SHORTEST, SolverOptions, threads_for
from tensortrain.conv.fit.ranks import Growth, largest_useful, with_ends
from tests.support import oracles
from tests.support.decompositions import (
    QUIET,
    SEEDS,
    relative_error,
)
from tests.support.examples import examples

# ---- ranks and limits ------------------------------------------------------------------------------------


@st.composite
def growths(draw: st.DrawFn) -> Growth:
    size = tuple(draw(st.integers(1, 4)) for _ in range(draw(st.integers(1, 3))))
    groups = draw(st.integers(1, 2))
    weight = oracles.floats(draw(SEEDS), groups * draw(st.integers(1, 4)), draw(st.integers(1, 4)), *size)
    kernel = NormalizedKernel.of(weight, groups, False)
    chain_format = formats.NAMED[draw(st.sampled_from(sorted(formats.NAMED)))](size)
    return Growth(chain_format, kernel, largest_useful(chain_format, kernel))


@given(growth=growths())
def test_ranks_grow_one_class_at_a_time_up_to_the_useful_ones(growth: Growth) -> None:
    path = growth.path()
    assert path[0] == growth.ranks(growth.smallest)
    for before, after in itertools.pairwise(path):
        assert any(a > b for a, b in zip(after, before, strict=True))
        assert all(a >= b for a, b in zip(after, before, strict=True))
        growth.chain_format.groups(with_ends(growth.kernel, after))  # raises if tied ranks drift apart
    assert path[-1] == growth.ranks(growth.limits)


@given(growth=growths(), fraction=st.floats(0.05, 3.0))
def test_a_budget_is_met_and_used_up(growth: Growth, fraction: float) -> None:
    parameters = math.floor(fraction * growth.kernel.dense_parameters)
    if growth.n_parameters(growth.ranks(growth.smallest)) > parameters:
        with pytest.raises(TensorTrainError, match="smallest"):
            growth.largest_within(parameters)
        return
    ranks = growth.largest_within(parameters)
    assert growth.n_parameters(ranks) <= parameters
    for (tied, fixed), limit in zip(growth.classes, growth.limits, strict=True):
        wider = list(ranks)
        for bond, factor in tied.items():
            wider[bond - 1] += factor
        bond, factor = next(iter(tied.items()))
        assert fixed is not None or ranks[bond - 1] == limit * factor or growth.n_parameters(wider) > parameters


SMALL_FORMATS = ["tucker2", "separable", "cp", "depthwise", "cttd"]


@examples(15)
@given(
    seed=SEEDS,
    shape=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3)),
    name=st.sampled_from(SMALL_FORMATS),
    rtol=st.sampled_from((1e-6, 0.05, 0.3, 0.7, 0.95)),
)
def test_a_tolerance_is_reached(seed: int, shape: tuple[int, ...], name: str, rtol: float) -> None:
    weight = oracles.floats(seed, *shape)
    chain = ConvTensorTrain.decompose(weight, formats.NAMED[name](shape[2:]), rtol=rtol)
    assert chain.error <= rtol + 4 * torch.finfo(weight.dtype).eps
    assert relative_error(chain, weight) <= rtol + 1e-12


@pytest.mark.parametrize("name", ["tucker2", "separable"])
def test_a_tolerance_takes_the_smallest_ranks_on_the_path(name: str) -> None:
    """One step less and the tolerance is missed: truncated SVDs leave no doubt about it."""
    weight, chain_format = oracles.smooth(5, 3, 2), formats.NAMED[name]((3, 3))
    chain = ConvTensorTrain.decompose(weight, chain_format, rtol=0.2)
    kernel = NormalizedKernel.of(weight, 1, False)
    path = Growth(chain_format, kernel, largest_useful(chain_format, kernel)).path()
    before = path[path.index(chain.ranks[1:-1]) - 1]
    assert chain.error <= 0.2 < ConvTensorTrain.decompose(weight, chain_format, ranks=before).error


def test_rtol_0_asks_for_the_exact_chain() -> None:
    weight = oracles.floats(0, 3, 2, 3, 3)
    for sizes in ((2, 2), [(3, 1), (1, 3)], (1, 3, 1)):
        assert ConvTensorTrain.decompose(weight, sizes, rtol=0).error == 0.0


@examples(6)
@given(seed=SEEDS, rank=st.integers(1, 9), budget=st.floats(0.3, 1.2), rtol=st.sampled_from((None, 0.3)))
def test_all_limits_hold_together(seed: int, rank: int, budget: float, rtol: float | None) -> None:
    weight = oracles.floats(seed, 3, 3, 3, 3)
    chain_format, caps = formats.tucker2((3, 3)), [min(rank, 3), min(10 - rank, 3)]
    limits = {"ranks": caps, "budget": budget, "max_parameters": 70}
    chain = ConvTensorTrain.decompose(weight, chain_format, **limits)
    if rtol is not None and chain.error > rtol:
        with pytest.raises(TensorTrainError, match=f"the error is {chain.error:.4g}"):
            ConvTensorTrain.decompose(weight, chain_format, rtol=rtol, **limits)
        return
    chain = ConvTensorTrain.decompose(weight, chain_format, rtol=rtol, **limits)
    assert chain.n_parameters <= min(70, math.floor(budget * 81))
    assert all(r <= cap for r, cap in zip(chain.ranks[1:-1], caps, strict=True))
    assert rtol is None or chain.error <= rtol


def test_one_int_caps_every_bond_at_what_it_can_use() -> None:
    weight = oracles.floats(0, 2, 6, 3, 3)
    chain = ConvTensorTrain.decompose(weight, (1, 3, 1), ranks=4)
    assert chain.ranks == (2, 2, 4, 6)


def test_a_budget_is_not_lost_to_rounding() -> None:
    weight = oracles.floats(0, 4, 5, 5)
    assert (
        ConvTensorTrain.decompose(weight, (1, 5), budget=0.29).n_parameters == 29
    )  # 0.29 · 100 < 29 in floating point


def test_an_unreachable_tolerance_tells_what_was_achieved() -> None:
    weight = oracles.gaussian(4, 3, seed=0)
    best = ConvTensorTrain.decompose(weight, (2, 2), ranks=3)
    with pytest.raises(TensorTrainError, match=rf"rtol = 0\.01.*the error is {best.error:.4g} with ranks \(3,\)"):
        ConvTensorTrain.decompose(weight, (2, 2), ranks=3, rtol=0.01)


# ---- running ---------------------------------------------------------------------------------------------


def test_a_bar_shows_only_when_it_takes_long_and_is_wanted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weight = oracles.smooth(4, 3, 0)
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    monkeypatch.setattr(progress, "LONG", 1e9)  # a busy machine makes it long
    for wanted in (None, False):  # None: only on a terminal, which this is not
        ConvTensorTrain.decompose(weight, (2, 2), ranks=3, progress=wanted)
        assert capsys.readouterr() == ("", "")
    with progress.Ticker(True) as tick:
        tick.expect(10.0)
        tick(1.0)
        assert tick.bar is not None
        tick(3.0)
        assert (tick.bar.tasks[0].completed, tick.bar.tasks[0].total) == (4.0, 10.0)
        bar = tick.bar
    assert bar.finished or not bar.live.is_started
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(progress, "PATIENCE", 1e9)
    ConvTensorTrain.decompose(weight, (2, 2), ranks=3, progress=True)
    assert capsys.readouterr() == ("", "")


def test_threads_are_restored_even_after_an_error() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with threads_for(1):
            assert torch.get_num_threads() == 1
        with threads_for(10**9):
            assert torch.get_num_threads() == 2
        with pytest.raises(RuntimeError), threads_for(1):
            raise RuntimeError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_work_bounds_the_steps() -> None:
    assert QUIET.steps(1.0, 200) == 200
    assert QUIET.steps(1e12, 200) == FEWEST
    assert SolverOptions(0, 0.0, lambda work: None, effort=2.0).steps(1.0, 200) == 400
    assert QUIET.steps(0.55e9, 200) == 100
    weight = oracles.floats(0, 1, 4, 4, 3, 3)
    more = [chain_solver.step_cost(weight, [(2, 2), (2, 2)], [rank]) for rank in (1, 2, 4, 8)]
    assert more == sorted(more)
    assert replace(QUIET, effort=0.1).steps(1e12, 200) == SHORTEST
    assert replace(QUIET, effort=20.0).steps(0.55e9, 200) == 2000


def test_effort_lowers_the_error() -> None:
    weight = oracles.smooth(16, 5, 0)
    errors = [ConvTensorTrain.decompose(weight, "depthwise", budget=0.2, effort=e).error for e in (0.02, 0.2, 2.0)]
    assert errors[0] > 1.01 * errors[1]
    assert errors[1] > 1.01 * errors[2]


@pytest.mark.parametrize("kernel_sizes", ["auto", "depthwise", "cp", "tucker2", (3, 3)])
def test_a_time_limit_ends_every_fit_with_what_there_is(kernel_sizes: str | tuple[int, int]) -> None:
    weight = oracles.gaussian(32, 5, 0)
    start = time.process_time()
    hasty = ConvTensorTrain.decompose(weight, kernel_sizes, budget=0.4, seconds=1e-3, effort=1e3)
    assert time.process_time() - start < 3
    assert hasty.error == pytest.approx(relative_error(hasty, weight), abs=1e-9)
    assert hasty.lower_bound <= hasty.error <= hasty.upper_bound <= 1


@pytest.mark.parametrize("option", ["effort", "seconds"])
@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf, True, "much"])
def test_effort_and_seconds_are_positive_numbers(option: str, value: object) -> None:
    with pytest.raises(TensorTrainError, match=f"{option} = .* is not a positive number"):
        ConvTensorTrain.decompose(oracles.floats(0, 2, 2, 3), budget=0.5, **{option: value})


def test_a_long_decomposition_says_how_long_it_takes_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A clock that advances by ten seconds with each step, of which ten are expected."""
    clock = itertools.count(0.0, 10.0)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    for show, lines in ((None, 2), (False, 0)):
        with progress.Ticker(show, "decompose 8←8 3×3") as tick:
            tick.expect(10.0)
            for _ in range(10):
                tick(1.0)
        out, err = capsys.readouterr()
        assert out == ""
        assert len(err.splitlines()) == lines
        if lines:
            first, second = err.splitlines()
            assert first.startswith("decompose 8←8 3×3: at most about ")
            assert re.fullmatch("decompose 8←8 3×3: .* of at most about .*", second)
