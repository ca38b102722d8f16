"""`zoo benchmark`: what it counts, that every way to run a model gives the same numbers, and the command itself."""

import csv
import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from tensortrain.profiling.macs import Count, Recorder
from tests.support.deep import leave_to_deep_tests
from tests.support.recording import imitate_graphs
from tests.support.reference import layered_models, shipped_models
from tests.support.runs import subnormals_are_zero
from tests.support.tiny import FAMILIES, OPTIONS
from zoo.benchmark import (
    JOBS,
    PLAIN,
    VARIANTS,
    Case,
    Clock,
    Row,
    Trial,
    Variant,
    benchmark_recipe,
    make_trial,
    measure,
    register,
)
from zoo.benchmark.loading import measure_loading
from zoo.benchmark.measurement import difference
from zoo.benchmark.variants import graph
from zoo.cli import main
from zoo.data import MovingMNIST
from zoo.errors import ZooError
from zoo.model_files.building import build_model
from zoo.predictors.recurrent import RecurrentPredictor
from zoo.registry import find_model
from zoo.settings import ConstantRate, Recipe

CPU = torch.device("cpu")
HAND = [variant for variant in VARIANTS.values() if variant.exact and "cpu" in variant.devices and variant.changes]


@zoo.register("benchmark-tiny", paper="none", protocol="conv-tt-lstm")
def benchmark_tiny(hidden: Sequence[int] = (2, 3), patch: int = 8, kernel: int = 3) -> zoo.VideoModel:
    """Two small layers."""
    options = {"hidden": hidden, "layers": [1] * len(hidden), "patch": patch, "kernel": kernel, "rank": 2}
    return zoo.create_model("conv-tt-lstm-sw", **options)


def tiny(model: str, frames: int = 5, batch: int = 2, precision: str = "32-true") -> Recipe:
    """A recipe of a small network of that kind."""
    recipe = benchmark_recipe(model, "paper", batch, frames, 0.5)
    recipe = replace(recipe, training=replace(recipe.training, precision=precision))
    known = find_model(model).options
    options = {"hidden": [2, 3], "layers": [1, 1], "kernel": 3, "patch": 8, "rank": 2}
    if model in shipped_models() and model not in layered_models():
        options = OPTIONS[model] | ({"base": 4} if model == "mcnet" else {})  # of 2 maps all could be dead
    options = {name: value for name, value in options.items() if name in known}
    return replace(recipe, options=options | recipe.options)  # which has the canvas


def clips(frames: int = 5) -> MovingMNIST:
    return MovingMNIST("train", source="embedded", length=frames)


def count(model: zoo.VideoModel, backward: bool = False) -> Count:
    """Of one frame of 64×64 pixels, without computing anything."""
    with torch.device("meta"):
        frame = torch.empty(1, 1, 1, 64, 64)
    with Recorder() as recorder:
        predictions = model(frame, 1)
        if backward:
            predictions.sum().backward()
    return recorder.count


def layers(hidden: Sequence[int] = (32, 48, 48, 32)) -> Iterator[tuple[int, int]]:
    """Input and hidden channels of the 12 layers; the first block's output joins the third's."""
    inputs = [1, hidden[0], hidden[1], hidden[2] + hidden[0]]
    for first, width in zip(inputs, hidden, strict=True):
        yield from [(first, width), (width, width), (width, width)]


def by_hand(width: Any, outputs: int = 80) -> int:
    """Multiply-accumulates of a frame: 5×5 convolutions of `width(inputs, hidden)` weights a tap, and the last 1×1."""
    return 64 * 64 * (25 * sum(width(inputs, hidden) for inputs, hidden in layers()) + outputs)


@pytest.mark.parametrize(
    ("model", "width", "gmac"),
    [
        ("conv-lstm", lambda x, h: (x + h) * 4 * h, 16.27),
        ("conv-tt-lstm-sw", lambda x, h: (x + 8) * 4 * h + 2 * 8 * 8 + 3 * h * 8, 11.00),
    ],
)
def test_operations_of_the_published_models_are_those_counted_by_hand(model: str, width: Any, gmac: float) -> None:
    with torch.device("meta"):
        network = zoo.create_model(model)
    macs = count(network).macs
    assert macs == by_hand(width)
    assert round(macs / 1e9, 2) == gmac


def test_a_step_back_costs_twice_the_step_but_for_gradients_that_nobody_needs() -> None:
    with torch.device("meta"):
        network = zoo.create_model("conv-lstm")
    forward = count(network).macs
    frames = 64 * 64 * 25 * 4 * 32  # the frame needs no gradient, nor do the zeros that every layer begins with
    zeros = sum(64 * 64 * 25 * 4 * hidden**2 for _, hidden in layers())
    assert count(network, backward=True).macs == 3 * forward - frames - zeros


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("model", shipped_models())
def test_every_way_to_run_gives_the_plain_numbers(model: str, job: str) -> None:
    if job == "training" and model not in FAMILIES:
        leave_to_deep_tests("one model of each family of cells is trained in every way; all of them")

    def results(variant: Variant) -> list[torch.Tensor]:
        trial = make_trial(tiny(model, precision="64-true"), job, clips(), CPU, ratio=0.5)
        for switch in variant.changes:
            switch(trial)
        return trial.run()

    plain, expected = results(PLAIN), results(VARIANTS["eager"])
    assert len(plain) == len(expected) > 0
    # flows and what they are drawn from: the last convolution of these begins at zero
    assert model == "traj-gru" or all(tensor.abs().sum() > 0 for tensor in plain)
    assert difference(plain, expected) < 1e-10
    for variant in HAND:
        if job not in variant.jobs:
            continue
        if words := unfit(model, variant.name):
            with pytest.raises(ZooError, match=words):
                results(variant)
        else:
            assert difference(results(variant), expected) < 1e-10, variant.name


def unfit(model: str, variant: str) -> str:
    """What is said of a variant that makes no sense for a model; empty if it does."""
    recipe = tiny(model)
    if variant == "windows-apart" and "conv-tt-lstm" not in model:
        return "only Conv-TT-LSTM has windows"
    if variant == "all-together" and not isinstance(build_model(recipe), RecurrentPredictor):
        return "only a recurrent model that predicts at every step"
    if variant == "fused-adam" and recipe.optimizer.method != "adam":
        return "not Adam"
    return ""


@pytest.mark.parametrize(("order", "steps"), [(1, 3), (2, 2), (2, 4), (3, 3)])
@pytest.mark.parametrize("window", ["sw", "fw"])
def test_windows_mapped_apart_are_those_mapped_at_once(window: str, order: int, steps: int) -> None:
    recipe = tiny(f"conv-tt-lstm-{window}", precision="64-true")
    recipe = replace(recipe, options=recipe.options | {"order": order, "steps": steps})
    at_once, apart = (make_trial(recipe, "training", clips(), CPU, 0.5) for _ in range(2))
    VARIANTS["windows-apart"].changes[0](apart)
    with Recorder() as few:
        expected = at_once.run()
    with Recorder() as many:
        assert difference(apart.run(), expected) < 1e-10
    assert sum(many.count.calls.values()) > sum(few.count.calls.values())


def test_fused_adam_takes_the_same_steps() -> None:
    recipe = replace(tiny("conv-lstm", precision="64-true"), learning_rate=ConstantRate(base=0.01))
    trials = [make_trial(recipe, "training", clips(), CPU, 0.5) for _ in range(2)]
    for name, trial in zip(("eager", "fused-adam"), trials, strict=True):
        for switch in VARIANTS[name].changes:
            switch(trial)
        assert trial.state.optimizer.param_groups[0]["fused"] is (True if name == "fused-adam" else None)
        for _ in range(4):
            trial.run()
    plain, fused = ([p.detach() for p in trial.model.parameters()] for trial in trials)
    untouched = make_trial(recipe, "training", clips(), CPU, 0.5).model.parameters()
    assert difference(fused, plain) < 1e-10
    assert difference([p.detach() for p in untouched], plain) > 0.01


@pytest.mark.parametrize(
    ("job", "variant", "zero"),
    [("training", "eager", True), ("training", "subnormals", False), ("inference", "eager", False)],
)
def test_subnormals_are_as_the_package_has_them(job: str, variant: str, zero: bool) -> None:
    trial, seen = make_trial(tiny("conv-lstm"), job, clips(), CPU), []
    trial.step = lambda inputs: seen.append(subnormals_are_zero()) or []
    for switch in VARIANTS[variant].changes:
        switch(trial)
    trial.run()
    assert seen == [zero]
    assert not subnormals_are_zero()


def test_the_plain_loop_reads_one_frame_at_a_time_and_bf16_is_bf16() -> None:
    def seen(name: str) -> tuple[list[int], Any]:
        trial = make_trial(tiny("conv-lstm", 6), "training", clips(6), CPU)
        lengths: list[int] = []
        read = trial.model.read

        def watched(frames: torch.Tensor, state: Any) -> Any:
            lengths.append(len(frames))
            assert torch.is_autocast_cache_enabled() == (name != "bf16")  # as Lightning has it
            return read(frames, state)

        trial.model.read = watched  # type: ignore[method-assign]
        for switch in VARIANTS[name].changes:
            switch(trial)
        with Recorder() as recorder:
            trial.run()
        return lengths, recorder.count

    names = ("plain", "eager", "bf16", "contiguous", "all-together")
    plain, eager, bf16, contiguous, together = map(seen, names)
    assert plain[0] == [1] * 5
    assert eager[0] == together[0] == [3, 1, 1]
    assert plain[1].macs == eager[1].macs == bf16[1].macs
    assert plain[1].prevailing(lambda call: call.precision) == "fp32"
    assert bf16[1].prevailing(lambda call: call.precision) == "bf16"
    assert eager[1].prevailing(lambda call: call.first.layout) == "channels last"
    assert contiguous[1].prevailing(lambda call: call.first.layout) == "contiguous"


def test_steps_repeat_and_the_sampling_ratio_is_held() -> None:
    trial = make_trial(tiny("conv-lstm"), "training", clips(), CPU, ratio=0.25)
    weights = [p.detach().clone() for p in trial.model.parameters()]
    first, second = trial.run(), trial.run()
    assert difference(first, second) == 0
    assert difference(weights, [p.detach() for p in trial.model.parameters()]) == 0
    assert trial.state.sampling.ratio(trial.state.step) == 0.25


def test_cells_are_compiled_by_their_step(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = graphs_compiled(monkeypatch)
    row_of = run(["eager", "compiled"], "inference")
    assert graphs
    assert row_of["compiled"].seconds
    assert row_of["compiled"].operators is None  # what a compiler makes of them is not counted


def graphs_compiled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The graphs that `torch.compile` makes from now on; they run as they are."""
    graphs: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph

    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    return graphs


def run(names: Sequence[str], job: str = "training") -> dict[str, Row]:
    """The rows of a case of the tiny model, by variant."""
    case = Case(tiny("benchmark-tiny"), "paper", job, 0.0, clips(), CPU)
    rows = measure(case, [PLAIN, *(VARIANTS[name] for name in names)], 2, Clock(CPU, 1))
    return {row.variant: row for row in rows}


def test_rows_hold_together() -> None:
    row_of = run(["eager", "bf16"])
    plain, eager = row_of["plain"], row_of["eager"]
    assert plain.speedup == 1
    for row in row_of.values():
        assert row.clips_per_second == pytest.approx(row.batch / row.seconds)
        assert row.gmac_per_second == pytest.approx(row.gmac / row.seconds)
        assert row.best_share == pytest.approx(row.gmac_per_second / row.best_gmac_per_second)
        assert row.predicted_seconds == pytest.approx(row.floor_seconds + row.traffic_gb / row.copy_gb_per_second)
        assert row.gmac == plain.gmac
        together = row.floor_seconds + row.special_seconds + row.optimizer_seconds
        assert row.parts_share == pytest.approx(together / row.seconds, rel=0.5)  # medians of two rounds each
        assert row.parts_share > row.floor_share > 0
        assert row.peak_mb > 0
        assert row.launches is None  # no GPU
    assert eager.operators < plain.operators
    assert plain.difference == 0
    assert 0 < row_of["bf16"].difference < 0.1


def test_special_operators_and_the_optimiser_are_timed_alone() -> None:
    """TrajGRU samples along flows; in inference nothing is learned."""
    for job in JOBS:
        case = Case(tiny("traj-gru"), "paper", job, 0.0, clips(), CPU)
        (row,) = measure(case, [PLAIN], 1, Clock(CPU, 1))
        assert row.special_seconds > 0
        assert (row.optimizer_seconds > 0) == (job == "training")
    assert run([])["plain"].special_seconds == 0


def test_what_fails_or_gives_other_numbers_is_a_row_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(trial: Trial) -> None:
        raise RuntimeError("no such kernel\nand more")

    def unfit(trial: Trial) -> None:
        raise ZooError("this model has none")

    def wrong(trial: Trial) -> None:
        trial.model.get_parameter("output.weight").data *= 1.5

    monkeypatch.setattr("zoo.benchmark.variants.VARIANTS", {})
    monkeypatch.setattr("zoo.names.VARIANTS", [])
    monkeypatch.setitem(VARIANTS, "broken", register(Variant("broken", execution=(broken,))))
    monkeypatch.setitem(VARIANTS, "unfit", register(Variant("unfit", (unfit,))))
    monkeypatch.setitem(VARIANTS, "wrong", register(Variant("wrong", (wrong,))))
    row_of = run(["broken", "unfit", "wrong", "eager"])
    assert row_of["broken"].note == "failed: RuntimeError: no such kernel"
    assert row_of["unfit"].note == "this model has none"
    assert row_of["wrong"].note.startswith("the results differ")
    assert row_of["broken"].seconds is row_of["wrong"].seconds is None
    assert row_of["eager"].seconds


def test_a_variants_name_is_its_own() -> None:
    with pytest.raises(ZooError, match="'eager' is registered already"):
        register(Variant("eager"))


def test_a_variant_records_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """It replays from the second run on, and gives the plain numbers."""
    replays = imitate_graphs(monkeypatch)
    for job in JOBS:
        trials = [make_trial(tiny("benchmark-tiny"), job, clips(), CPU, 0.5) for _ in range(2)]
        graph(trials[1])
        for run_number in range(3):
            expected, results = (trial.run() for trial in trials)
            assert difference(results, expected) == 0
            assert len(replays) == run_number
        replays.clear()


def test_loading_is_timed_on_clips_not_seen_before() -> None:
    source, seen = clips(), []
    fetch = source.fetch
    source.fetch = lambda indices: seen.extend(indices) or fetch(indices)  # type: ignore[method-assign]
    times = measure_loading(source, 3, CPU, 2, Clock(CPU, 1))
    assert min(times) > 0
    assert len(set(seen)) == len(seen) == 3 * 6


def run_command(*arguments: str | Path) -> int:
    """The exit status of `zoo benchmark …`."""
    try:
        main(["benchmark", *(str(argument) for argument in arguments)])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_the_command_writes_a_table_values_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--batch=1", "--frames=4", "--rounds=1", "--threads=1", "--device=cpu", "--data-root", tmp_path]
    threads = torch.get_num_threads()
    variants = ["--variants", "eager", "fused-adam", "graph"]
    assert run_command("benchmark-tiny", *words, *variants, "-o", tmp_path / "new" / "out") == 0
    assert torch.get_num_threads() == threads
    out, err = capsys.readouterr()
    for expected in ("benchmark-tiny, paper: training", "benchmark-tiny, paper: inference", "GMAC/s", "moving-mnist"):
        assert expected in " ".join(out.split()), expected
    assert "skipped on a cpu device: graph" in err
    assert "no clips of KTH" in err
    rows = list(csv.DictReader((tmp_path / "new" / "out" / "benchmark.csv").open()))
    jobs = [(row["job"], row["variant"]) for row in rows]
    training = [("training", name) for name in ("plain", "eager", "fused-adam")]
    assert jobs == [*training, ("inference", "plain"), ("inference", "eager")]
    assert all(float(row["seconds"]) > 0 and row["threads"] == "1" and row["note"] == "" for row in rows)
    lines = (tmp_path / "new" / "out" / "table.csv").read_text().splitlines()
    options = "--preset paper --jobs training inference --variants eager fused-adam graph --batch 1 --frames 4"
    assert lines[0].startswith(f"# command: zoo benchmark benchmark-tiny {options} ")
    assert "threads 1" in lines[1]
    shares = [float(row["parts"].rstrip("%")) for row in csv.DictReader(lines[2:])]
    assert shares == [pytest.approx(100 * float(row["parts_share"]), abs=0.51) for row in rows]
    (loading,) = csv.DictReader((tmp_path / "new" / "out" / "loading.csv").open())
    seconds = [float(loading[f"{name}_seconds"]) for name in ("fetch", "render", "step")]
    assert float(loading["share"]) == pytest.approx((seconds[0] + seconds[1]) / seconds[2])
    assert (tmp_path / "new" / "out" / "benchmark.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["conv-lstn"], "did you mean 'conv-lstm'"),
        (["benchmark-tiny", "--preset", "papr"], "no preset 'papr'"),
        (["benchmark-tiny", "--jobs", "trainin"], "did you mean 'training'"),
        (["benchmark-tiny", "--variants", "eagr"], "did you mean 'eager'"),
        (["benchmark-tiny", "--batch=0"], "--batch = 0 must be at least 1"),
        (["benchmark-tiny", "--frames=1"], "--frames = 1 must be at least 2"),
        (["benchmark-tiny", "--ratio=1.5"], "--ratio = 1.5 must be from 0"),
        (["benchmark-tiny", "--rounds=0"], "--rounds = 0 must be at least 1"),
        (["benchmark-tiny", "--threads=0"], "--threads = 0 must be at least 1"),
        (["benchmark-tiny", "--device=gpu"], "device = 'gpu' cannot be used"),
        (["benchmark-tiny", "--output", "README.md"], "--output = README.md cannot be created"),
    ],
)
def test_bad_input_is_named(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(*words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("benchmark-tiny", "--device=cuda") == 2
    assert "device = 'cuda' cannot be used" in capsys.readouterr().err
