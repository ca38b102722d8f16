"""Kernels that are fitted side by side: equal results, resume, limits for all together, and what is said meanwhile."""

import threading
import time
from dataclasses import replace

import pytest
import torch
from torch import nn

import tensortrain as tt
from tensortrain.compression.state_dicts import decomposition, pool
from tensortrain.compression.state_dicts.decomposition import decompose_kernels
from tensortrain.compression.state_dicts.effort import Allowance
from tensortrain.compression.state_dicts.kernels import ConvKernel
from tensortrain.compression.state_dicts.limits import LayerLimits
from tensortrain.conv.fit import choose_format, depthwise, progress, speed
from tensortrain.conv.fit.kernel import NormalizedKernel
from tensortrain.conv.fit.options import SolverOptions


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(6, 6, 3), nn.Conv2d(6, 8, 3), nn.Linear(9, 12), nn.Conv1d(4, 4, 5))


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_side_by_side_gives_what_one_after_the_other_gives(threads, monkeypatch):
    names = set()
    decompose = decomposition._decompose

    def noted(kernel, arguments):
        names.add(threading.current_thread().name)
        return decompose(kernel, arguments)

    monkeypatch.setattr(decomposition, "_decompose", noted)
    results = []
    for count in (1, 2):
        threads(count)
        results.append(tt.nn.decompose(network(), budget=0.5, effort=0.02).state_dict())
        assert torch.get_num_threads() == count
    assert len(names) == 3  # the main thread, and two others
    assert results[0].keys() == results[1].keys()
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_large_kernels_have_all_threads_for_themselves(threads):
    threads(2)
    where = {}

    def task(name):
        return lambda stop: where.setdefault(name, threading.current_thread() is threading.main_thread())

    entries = {"a": 10, "large": 10**7, "b": 10}
    assert dict(pool.side_by_side({name: task(name) for name in entries}, entries)) == where
    assert where == {"a": False, "large": True, "b": False}


def test_an_error_in_one_fit_ends_the_others(threads):
    threads(2)
    ended = threading.Event()

    def failing(stop):
        raise KeyboardInterrupt

    def long(stop):
        follow = pool.Stoppable(progress.Ticker(False), stop)
        try:
            for _ in range(2000):
                follow(1.0)
                time.sleep(0.005)
        except pool.CancelledError:
            ended.set()
            raise

    with pytest.raises(KeyboardInterrupt):
        list(pool.side_by_side({"a": long, "b": failing}, {"a": 1, "b": 1}))
    assert ended.is_set()


def test_an_interrupted_decomposition_goes_on(tmp_path, monkeypatch):
    net, file = network(), tmp_path / "progress"
    whole = tt.nn.decompose(net, budget=0.5, effort=0.02)
    decompose, tried = decomposition._decompose, []

    def interrupted(kernel, arguments):
        tried.append(kernel.layer)
        if len(tried) == 3:
            raise KeyboardInterrupt
        return decompose(kernel, arguments)

    monkeypatch.setattr(decomposition, "_decompose", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tt.nn.decompose(net, budget=0.5, effort=0.02, resume=file)
    with pytest.raises(tt.TensorTrainError, match="a decomposition of other weights or with other arguments"):
        tt.nn.decompose(net, budget=0.4, effort=0.02, resume=file)
    result = tt.nn.decompose(net, budget=0.5, effort=0.02, resume=file)
    assert sorted(tried) == ["0", "1", "2", "2", "3"]
    assert list(tmp_path.iterdir()) == []
    assert all(
        torch.equal(a, b) for a, b in zip(result.state_dict().values(), whole.state_dict().values(), strict=True)
    )
    assert [m.chain.upper_bound for m in result if hasattr(m, "chain")] == [
        m.chain.upper_bound for m in whole if hasattr(m, "chain")
    ]


def test_time_is_shared_out_by_size():
    allowance = Allowance(10.0, 1, [1, 1, 2])
    assert allowance.seconds(1) == pytest.approx(2.5, abs=0.01)
    assert allowance.seconds(1) == pytest.approx(10 / 3, abs=0.01)  # no time has passed, so the rest is for two
    assert allowance.seconds(2) == pytest.approx(10, abs=0.01)
    assert Allowance(10.0, 2, [1, 1, 2]).seconds(1) == pytest.approx(5, abs=0.01)
    assert Allowance(None, 1, [1]).seconds(1) is None
    start = time.process_time()
    kernels = [ConvKernel(f"{i}.weight", torch.randn(24, 24, 3, 3)) for i in range(3)]
    from tensortrain.compression.state_dicts.effort import Effort

    outcomes = decompose_kernels(kernels, LayerLimits(budget=0.4), Effort(effort=1e3, seconds=0.1))
    assert time.process_time() - start < 4
    assert all(outcome.chain is not None for outcome in outcomes)


def test_several_fits_say_together_how_long_they_take(monkeypatch, capsys):
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    monkeypatch.setattr(progress, "LONG", 0.0)
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    tt.nn.decompose(network(), budget=0.5, effort=0.02)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("decompose 4 layers: at most about ")
    assert any(line.endswith(", at 1") for line in lines[1:])
    tt.nn.decompose(network(), budget=0.5, effort=0.02, progress=False)
    assert capsys.readouterr().err == ""


def test_small_kernels_are_expected_to_cost_about_the_same_and_linear_layers_little(monkeypatch):
    """A first kernel of 72 entries is no hundredth of the work, so that the rest is not expected to take minutes."""
    shares, part = {}, progress.Ticker.part

    def noted(ticker, name, share):
        shares[name] = share
        return part(ticker, name, share)

    monkeypatch.setattr(progress.Ticker, "part", noted)
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(288, 10))
    tt.nn.decompose(net, "separable", budget={"0": 0.9, "1": 0.5, "2": 0.5})
    assert shares["0"] == shares["1"] > 0.49
    assert sum(shares.values()) == pytest.approx(1)


def test_the_work_of_fits_that_have_not_begun_is_expected_too():
    ticker = progress.Ticker(False)
    with ticker.part("a", 0.25) as part:
        part.expect(100.0)
        assert ticker.total() == 400.0
        part(60.0)
    assert ticker.total() == 240.0  # it took less than expected
    with ticker.part("b", 0.75) as part:
        part.expect(200.0)
        assert ticker.total() == 260.0


# ---- the objective of "auto" ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "ratio", "sizes"),
    [
        ("speed", {"separable": 0.4, "tucker2": 0.6}, ((3, 1), (1, 3))),
        ("both", {"separable": 1.3, "tucker2": 0.6}, ((1, 1), (3, 3), (1, 1))),
        ("both", {"separable": 1.3, "tucker2": 1.2}, ((1, 1), (3, 3), (1, 1))),  # nothing is faster: the fastest
    ],
)
def test_auto_is_after_what_it_was_asked_for(monkeypatch, objective, ratio, sizes):
    monkeypatch.setattr(
        speed, "ratios", lambda field, kernel, size: [ratio.get(e.chain_format.name, 2.0) for e in field]
    )
    weight = torch.randn(6, 6, 3, 3, generator=torch.Generator().manual_seed(0))
    chain = tt.ConvTensorTrain.decompose(weight, budget=0.5, objective=objective, effort=0.02)
    assert chain.kernel_sizes == sizes
    assert tt.ConvTensorTrain.decompose(weight, budget=0.5, effort=0.02).kernel_sizes != sizes
    net = nn.Sequential(nn.Conv2d(6, 6, 3))
    assert tt.nn.decompose(net, budget=0.5, objective=objective, effort=0.02)[0].chain.kernel_sizes == sizes


def test_times_of_formats_are_those_of_plain_convolutions():
    weight = torch.randn(24, 8, 5, 5)
    kernel = NormalizedKernel.of(weight, 2, False)
    field = choose_format.entrants(kernel, weight.numel() // 10)
    ratios = speed.ratios(field, kernel, (12, 12))
    assert len(ratios) == len(field)
    assert all(0 < ratio < 100 for ratio in ratios)
    with pytest.raises(tt.TensorTrainError, match="size"):
        tt.ConvTensorTrain.decompose(weight, budget=0.5, objective="speed", size=(3, 4, 5))
    with pytest.raises(tt.TensorTrainError, match="objective = 'quick' is unknown"):
        tt.nn.decompose(network(), budget=0.5, objective="quick")
    with torch.inference_mode(), pytest.raises(tt.TensorTrainError, match="could not be trained"):
        tt.nn.decompose(network(), budget=0.5)
    for size in (0, (8, -1), "abc"):  # it is wrong for every layer, so no network with some layers replaced is returned
        with pytest.raises(tt.TensorTrainError, match="size"):
            tt.nn.decompose(network(), budget=0.5, size=size)


def test_auto_repeats_no_fit_that_cannot_take_more_steps(monkeypatch):
    """With little effort, the fits of all rounds have the same number of steps."""
    again = []  # whether a fit was of a format that had been fitted before
    solve = choose_format.solve

    def noted(kernel, chain_format, ranks, options, earlier=None):
        again.append(earlier is not None)
        return solve(kernel, chain_format, ranks, options, earlier)

    monkeypatch.setattr(choose_format, "solve", noted)
    weight = torch.randn(8, 8, 5, generator=torch.Generator().manual_seed(0))
    for effort, repeated in ((0.003, 0), (1.0, 1 + choose_format.LEADERS)):
        again.clear()
        tt.ConvTensorTrain.decompose(weight, budget=0.5, effort=effort)
        assert sum(again) == repeated


@pytest.mark.parametrize("round_effort", [choose_format.SHORT, choose_format.MEDIUM])
def test_in_the_first_rounds_of_auto_formats_with_blocks_take_equally_many_sweeps(round_effort):
    """That is, if their sweeps are equally dear; also where the work of a full fit is limited, as of this kernel."""
    kernel = NormalizedKernel.of(torch.ones(64, 64, 5, 5), 1, False)
    options = SolverOptions(seed=0, target=0.0, tick=lambda work: None)
    field = [entrant for entrant in choose_format.entrants(kernel, 40_960) if depthwise.supports(entrant.chain_format)]
    assert len(field) == 3
    contest = choose_format._Contest(kernel, field, options)
    for entrant in field:
        arguments = kernel.weight, entrant.chain_format, entrant.ranks
        effort = contest.paced(entrant, round_effort)
        _, sweeps = depthwise.plan(*arguments, replace(options, effort=effort))
        dear = min(1.0, (depthwise.DEAR / depthwise.step_cost(*arguments)) ** 0.3)
        assert sweeps == pytest.approx(round_effort * choose_format.SWEEPS * dear, abs=1.5)
