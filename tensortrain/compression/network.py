"""`compress`: make a whole trained network smaller within a budget, judged by its outputs for some inputs."""

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from tensortrain import checks
from tensortrain.compression.analysis import costs
from tensortrain.compression.analysis.metric import Metric, measured_metric
from tensortrain.compression.analysis.network import Analysis, analyse
from tensortrain.compression.analysis.selection import Selector
from tensortrain.compression.analysis.timing import LayerTimer, Timing, batch_to_time, layer_timer, time_whole
from tensortrain.compression.budget import time_budget
from tensortrain.compression.budget.build import Built, build
from tensortrain.compression.budget.fitted import AnyFormat, with_other_forms
from tensortrain.compression.budget.plan import KINDS, Offer, Plan, offer, pick
from tensortrain.compression.budget.progress import Stages
from tensortrain.compression.budget.time_budget import TimeBudget
from tensortrain.compression.options import CompressionOptions, check_call
from tensortrain.compression.reports import pictures
from tensortrain.compression.reports.findings import report_on
from tensortrain.compression.result import Compressed
from tensortrain.compression.state_dicts.store import FitStore
from tensortrain.errors import TensorTrainError
from tensortrain.files import aside

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEARCH = 7  # number of bisection steps in the search for the smallest network within `max_drop`
BUILDS = 3  # largest number of times that a network is built until it is within a budget of time


def compress(
    model: nn.Module,
    inputs: Any = None,
    *,
    parameters: float | int | None = None,
    macs: float | int | None = None,
    bytes: float | int | None = None,
    milliseconds: float | None = None,
    time: float | None = None,
    include: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
    at_least: Mapping[str, float] | None = None,
    at_most: Mapping[str, float] | None = None,
    multiple: int = 1,
    formats: str | Iterable[AnyFormat] | None = None,
    effort: float = 1.0,
    seconds: float | None = None,
    objective: str = "error",
    samples: int = 1024,
    output: Selector = None,
    logits: bool | None = None,
    metric: Metric | None = None,
    max_drop: float | None = None,
    seed: int = 0,
    resume: str | PathLike[str] | None = None,
    progress: bool | None = None,
) -> Compressed:
    """Compress a whole trained network to a budget, with nearly the same outputs and without training.

    Every conv and linear layer may be replaced by a chain of smaller ones: `1×1 | K×K | 1×1`, without the first or the
    last one if that is better. The ranks of all layers are chosen together, so that the sum of the squared relative
    errors of the layers' outputs on `inputs` is smallest within the budget. Then each layer, in the order of execution,
    is fitted again to correct the errors of the layers before it. The statistics of batch norm are estimated again if
    that helps. Without inputs, errors are those of the weights, and nothing is fitted again.

    The model is not changed. The result is an ordinary module that can be trained, compressed again, and saved.

    Args:
        model: a trained network; wrappers of `DataParallel` and `torch.compile` are removed.
        inputs: unlabelled inputs: one tensor `(samples, …)`, or any iterable of batches, which is read once. A batch is
            a tensor, a dict of keyword arguments, or a tuple or list of positional arguments. Of a tuple or list, as
            many entries are used as `forward` requires, so labels may follow.
        parameters: the budget: a fraction of the parameters of the whole network (a float up to 1), or a number of
            parameters (an int). Exactly one budget must be passed.
        macs: a fraction of the multiply-accumulates for each sample, or a number of them.
        bytes: a fraction of the bytes of parameters and buffers, or a number of them.
        milliseconds: the median time of the first batch of the inputs on this machine. A layer is replaced only if the
            new one takes at most 0.95 of the time of the dense one, as the median of 15 alternations. If the whole
            network misses the budget, it is built again with less to spend, at most three times in all. If the last
            network misses it too, the report says so.
        time: a fraction of the original network's time, such as 0.6. Both networks are timed in alternation, so that
            this budget does not depend on what else the machine is doing.
        include: pattern on the names of layers, such as `"layer2.*"`, or several; only layers that match may change.
        exclude: pattern on the names of layers, or several; layers that match stay as they are.
        at_least: smallest share of its parameters that a layer keeps, by patterns on names of layers.
        at_most: largest share of its parameters that a layer keeps, by patterns on names of layers.
        multiple: all ranks are multiples of this number, which makes some hardware faster.
        formats: further forms of convs: `"all"`, or names of formats such as `["cttd", "cp"]` (see `tt.formats`). They
            are fitted to what each layer computes, at the same cost as the form that was chosen for the layer, and used
            if they are better. This takes seconds to minutes for each layer, and keeps the second moments of the inputs
            of all convs in memory: `(q · K)²` numbers for each, with q input channels and K kernel positions.
        effort: factor on the work of each fit, see `ConvTensorTrain.decompose`.
        seconds: time limit for all fits together. With a limit but without `formats`, all formats are tried. The result
            then depends on the machine.
        objective: how to choose between forms of about the same cost: `"error"`, the smallest error; `"speed"`, the
            fastest on this machine; `"both"`, the smallest error among the forms that are faster than the layer, or the
            fastest if none is. All but `"error"` need inputs, and the result depends on the machine.
        samples: largest number of samples that are used; they are kept in memory. If the rows of a batch depend on each
            other, the last batch is used whole.
        output: the tensor of the network's output to compare: a key, an index, or a function of the output; by default
            the first floating tensor.
        logits: whether that tensor holds logits, with classes on the last axis. Logits are compared by the KL
            divergence of the class probabilities, in nats. By default, tensors of shape `(samples, classes)` are
            logits.
        metric: a function of a network, such as its accuracy; larger is better. Its value is reported for the original
            and for the result. Nothing is fitted to it.
        max_drop: the amount by which the metric may fall, instead of a budget. The smallest such network is found by
            seven bisection steps on the fraction of the parameters, with one calibration.
        seed: seed of all random choices; equal seeds give equal results.
        resume: a file that keeps finished layers. After an interruption, the same call continues from it. It is removed
            at the end. It cannot be combined with `milliseconds`, `time` or `max_drop`.
        progress: whether to show the current stage; by default in a terminal, and elsewhere as lines after 15 seconds.

    Returns:
        The compressed network, and the report of its compression.

    Raises:
        TensorTrainError: no layer can be replaced, the budget cannot be reached (the message names the smallest that
            can), the network cannot run on the inputs, weights or outputs are NaN or infinite, an argument is out of
            range, or a pattern matches no layer.

    >>> import torch
    >>> model = nn.Sequential(nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 16)).eval()
    >>> result = compress(model, torch.randn(64, 8, 6, 6), parameters=0.25)
    >>> [type(layer).__name__ for layer in result.model]
    ['ConvTT2d', 'ReLU', 'Flatten', 'LowRankLinear']
    >>> before, after = result.report.parameters
    >>> after <= before / 4
    True
    """
    check_call(metric)
    kind, value = _one_budget(
        parameters=parameters, macs=macs, bytes=bytes, milliseconds=milliseconds, time=time, max_drop=max_drop
    )
    if max_drop is not None and metric is None:
        raise TensorTrainError(
            f"max_drop = {max_drop!r} needs a metric, whose drop it limits; pass a function of a network as metric"
        )
    if max_drop is not None and resume is not None:
        raise TensorTrainError(
            "resume keeps the layers of one network, but max_drop tries several networks; leave out one of the two"
        )
    if kind in time_budget.KINDS and resume is not None:
        raise TensorTrainError(
            f"resume needs the same ranks after an interruption, but {kind} = {value!r} depends on the clock and leads"
            " to other ranks each time; leave out resume, or pass a budget of parameters, macs or bytes"
        )
    options = CompressionOptions(
        include, exclude, at_least, at_most, multiple, formats, effort,
        seconds, objective, samples, output, logits, seed,
    )  # fmt: skip
    with Stages(progress) as stages:
        network = Network.analysed(model, inputs, options, metric, stages, resume)
        return network.within(max_drop) if max_drop is not None else network.to(kind, value)


def compression_curve(
    model: nn.Module,
    inputs: Any,
    fractions: Iterable[float],
    *,
    unit: str = "parameters",
    metric: Metric | None = None,
    include: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
    at_least: Mapping[str, float] | None = None,
    at_most: Mapping[str, float] | None = None,
    multiple: int = 1,
    formats: str | Iterable[AnyFormat] | None = None,
    effort: float = 1.0,
    seconds: float | None = None,
    objective: str = "error",
    samples: int = 1024,
    output: Selector = None,
    logits: bool | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> "CompressionCurve":
    """Compress a network to several budgets, with one calibration.

    Args:
        model: a trained network, as in `compress`.
        inputs: as in `compress`; None for no inputs.
        fractions: the budgets, as fractions of the whole network.
        unit: what the fractions count: `"parameters"`, `"macs"` or `"bytes"`.
        metric, include, exclude, at_least, at_most, multiple, samples, output, logits: as in `compress`.
        formats, effort, seconds, objective, seed, progress: as in `compress`; `seconds` is for each network.

    Returns:
        The compressed networks, in the order of `fractions`.

    Raises:
        TensorTrainError: in the same cases as `compress`, or if there are no fractions or the unit is unknown.

    >>> import torch
    >>> model = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4)).eval()
    >>> curve = compression_curve(model, torch.randn(200, 32), [0.8, 0.4])
    >>> [result.report.parameters[1] <= fraction * 1188 for fraction, result in zip([0.8, 0.4], curve.results)]
    [True, True]
    """
    check_call(metric)
    checks.choice("unit", unit, KINDS)
    fractions = list(fractions) if isinstance(fractions, Iterable) else [fractions]
    if not fractions:
        raise TensorTrainError("fractions is empty; at least one is needed, such as [0.5, 0.25]")
    options = CompressionOptions(
        include, exclude, at_least, at_most, multiple, formats, effort,
        seconds, objective, samples, output, logits, seed,
    )  # fmt: skip
    with Stages(progress) as stages:
        network = Network.analysed(model, inputs, options, metric, stages)
        return CompressionCurve([network.to(unit, fraction) for fraction in fractions])


class Network:
    """A network that has been analysed, and can be compressed to one budget after the other.

    Args:
        analysis: analysis of the network.
        options: options of every compression.
        metric: metric to report; None for no metric.
        stages: called with the name of the current stage.
        resume: file for finished layers, see `compress`.
    """

    def __init__(
        self,
        analysis: Analysis,
        options: CompressionOptions,
        metric: Metric | None,
        stages: Stages,
        resume: str | PathLike[str] | None = None,
    ) -> None:
        self.analysis, self.options, self.metric, self.stages = analysis, options, metric, stages
        self.resume = resume
        self.original = None if metric is None else self._value(analysis.reference, original=True)

    @classmethod
    def analysed(
        cls,
        model: object,
        inputs: Any,
        options: CompressionOptions,
        metric: Metric | None,
        stages: Stages,
        resume: str | PathLike[str] | None = None,
    ) -> "Network":
        """Analyse a network, see `analyse`.

        Raises:
            TensorTrainError: the objective needs inputs but there are none, or an error of `analyse`.
        """
        if inputs is None and options.objective != "error":
            raise TensorTrainError(
                f"objective = {options.objective!r} needs inputs, because the time of a layer depends on them; pass"
                " inputs"
            )
        analysis = analyse(
            model,
            inputs,
            include=options.include,
            exclude=options.exclude,
            samples=options.samples,
            output=options.output,
            logits=options.logits,
            seed=options.seed,
            tick=stages,
            keep_moments=options.admission.formats is not None or options.objective != "error",
        )
        return cls(analysis, options, metric, stages, resume)

    def to(self, kind: str, value: object) -> Compressed:
        """Compress the network to one budget.

        Args:
            kind: kind of the budget: parameters, macs, bytes, milliseconds or time.
            value: the budget, as in `compress`.
        """
        constraints = self.options.constraints
        if kind in time_budget.KINDS:
            return self._in_time(TimeBudget(self.analysis, kind, value, constraints, self.stages))
        self.stages("allocation")
        offered = offer(self.analysis, kind, constraints)
        plan = pick(self.analysis, offered, costs.amount(kind, value, offered.total))
        plan, built = self._built(plan, offered, None)
        if self.analysis.measured is None:
            return self._reported(plan, built, None)
        self.stages("timing")
        timer = layer_timer(self.analysis, batch_to_time(self.analysis))
        return self._reported(plan, built, Timing(timer, time_whole(self.analysis, built.model, timer.batch)))

    def _in_time(self, budget: TimeBudget) -> Compressed:
        """Compress the network to a budget of time.

        If the network misses the budget when it is built, another one is planned for less time.
        """
        for build_number in range(1, BUILDS + 1):
            plan, built = self._built(budget.plan(), None, budget.timer)
            race = budget.timed(built.model)
            if build_number == BUILDS or not budget.tightened(race):
                break
        return self._reported(plan, built, Timing(budget.timer, race, budget.missed(race)))

    def _built(self, plan: Plan, offered: Offer | None, timer: LayerTimer | None) -> tuple[Plan, Built]:
        """Build the network of a plan, and return it with the plan, in which other forms may have replaced some."""
        store = None
        if self.options.admission.formats is not None or self.options.objective != "error":
            store = self._store(plan)
            plan = self._with_other_forms(plan, offered, timer, store)
        built = build(self.analysis, plan, self.stages, self.resume)
        if store is not None:
            store.remove()
        return plan, built

    def _reported(self, plan: Plan, built: Built, timing: Timing | None) -> Compressed:
        """Return the network with its report."""
        values = None if self.original is None else (self.original, self._value(built.model))
        report = report_on(self.analysis, plan, built, values, timing, self.stages)
        return Compressed.of(built.in_original_mode(), report, self.analysis.model)

    def _store(self, plan: Plan) -> FitStore:
        """Return the store of finished fits, in a file beside that of the finished layers."""
        if self.resume is None:
            return FitStore(None, None)
        measured = self.analysis.measured
        inputs = None if measured is None else measured.digest
        planned = [dict(self.analysis.reference.state_dict()), inputs, list(plan.ranks.items()), plan.kind]
        return FitStore(f"{self.resume}.fits", [*planned, repr(self.options.admission)])

    def _with_other_forms(self, plan: Plan, offered: Offer | None, timer: LayerTimer | None, store: FitStore) -> Plan:
        """Return the plan with fitted chains and faster forms, as the options request."""
        self.stages("formats")
        self.stages.pause()
        if timer is None and self.options.objective != "error":
            timer = layer_timer(self.analysis, batch_to_time(self.analysis))
        return with_other_forms(
            self.analysis,
            plan,
            offered,
            self.options.admission,
            self.options.constraints,
            timer,
            store,
            self.stages.shown,
        )

    def _value(self, model: nn.Module, *, original: bool = False) -> float:
        """Compute the metric of a network, see `measured_metric`."""
        assert self.metric is not None
        self.stages("metric")
        return measured_metric(self.metric, model, original=original)

    def within(self, max_drop: float) -> Compressed:
        """Find the smallest network, within the accuracy of the search, whose metric falls by at most `max_drop`.

        Args:
            max_drop: largest drop of the metric.

        Raises:
            TensorTrainError: the metric falls by more, or is not finite, even if the network keeps nearly all
                parameters, or `max_drop` is negative.
        """
        if isinstance(max_drop, bool) or not isinstance(max_drop, int | float) or not 0 <= max_drop < math.inf:
            raise TensorTrainError(f"max_drop = {max_drop!r}; a number of at least 0 is needed, in units of the metric")
        assert self.original is not None
        smallest = offer(self.analysis, "parameters", self.options.constraints)
        low, high, best = smallest.least / smallest.total, 1.0, None
        values: list[float] = []
        for _ in range(SEARCH):
            fraction = (low + high) / 2
            result = self.to("parameters", fraction)
            assert result.report.metric is not None
            values.append(result.report.metric[1])
            if math.isfinite(values[-1]) and values[-1] >= self.original - max_drop:
                best, high = result, fraction
            else:
                low = fraction
        if best is None:
            addition = "" if all(map(math.isfinite, values)) else " or is not finite"
            raise TensorTrainError(
                f"max_drop = {max_drop!r} cannot be reached: in all {SEARCH} networks that were tried, of up to"
                f" {low:.0%} of the parameters, the metric falls by more{addition}; allow a larger drop"
            )
        return best


@dataclass(frozen=True)
class CompressionCurve:
    """A network that was compressed to several budgets. `print` shows a table.

    Attributes:
        results: one result for each budget.

    >>> curve = compression_curve(nn.Sequential(nn.Linear(8, 8)), None, [0.7, 0.4])
    >>> [round(row["parameters"], 2) for row in curve.rows()]
    [0.56, 0.33]
    """

    results: list[Compressed]

    def rows(self) -> list[dict[str, float | None]]:
        """Return for each network a dict of numbers; None stands for a number that is not known.

        The keys are `parameters` and `macs` (the shares that it keeps), `error`, `kl` (in nats) and `agreement` (the
        difference of its outputs, see `Difference`), and `metric`.
        """
        rows: list[dict[str, float | None]] = []
        for result in self.results:
            report = result.report
            row: dict[str, float | None] = {"parameters": report.parameters[1] / report.parameters[0]}
            row["macs"] = None if report.macs is None else report.macs[1] / report.macs[0]
            for name in ("error", "kl", "agreement"):
                row[name] = None if report.outputs is None else getattr(report.outputs, name)
            row["metric"] = None if report.metric is None else report.metric[1]
            rows.append(row)
        return rows

    def to_csv(self) -> str:
        """Return the rows as a CSV table with one line for each network."""
        text = io.StringIO()
        rows = self.rows()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def plot(self) -> "Figure":
        """Draw the metric, or without a metric the relative error of the outputs, over the share of the parameters.

        Raises:
            TensorTrainError: matplotlib is not installed, or there were neither inputs nor a metric.
        """
        rows, report = self.rows(), self.results[0].report
        name = "metric" if report.metric is not None else "error"
        points = [(float(row["parameters"] or 0), float(row[name] or 0)) for row in rows if row[name] is not None]
        if not points:
            raise TensorTrainError(
                "there is nothing to draw without inputs and without a metric; pass one of them to compression_curve"
            )
        label = "metric" if report.metric is not None else "relative error of the outputs"
        original = report.metric[0] if report.metric is not None else None
        return pictures.curve_chart([k for k, _ in points], [v for _, v in points], label, original)

    def to_png(self) -> bytes:
        """Return the drawing of `plot` as the bytes of a PNG file.

        Raises:
            TensorTrainError: in the same cases as `plot`.
        """
        return pictures.png(self.plot())

    def save(self, path: str | PathLike[str]) -> None:
        """Write the table (.csv) or the drawing (.png) to a file.

        Args:
            path: the file to write; its ending selects the format.

        Raises:
            TensorTrainError: the ending is another one, or the file cannot be written.
        """
        ending = Path(path).suffix.lower()
        if ending not in (".csv", ".png"):
            raise TensorTrainError(f"{path} ends in {ending!r}; legal: .csv, .png")
        content = self.to_png() if ending == ".png" else self.to_csv().encode()
        with aside(path) as temporary:
            temporary.write_bytes(content)

    def __str__(self) -> str:
        def cell(value: float | None) -> str:
            return "" if value is None else f"{value:.4f}"

        rows = self.rows()
        names = [name for name in rows[0] if any(row[name] is not None for row in rows)]
        lines = ["  ".join(f"{name:>10}" for name in names)]
        lines += ["  ".join(f"{cell(row[name]):>10}" for name in names) for row in rows]
        return "\n".join(lines)


def _one_budget(**budgets: object) -> tuple[str, object]:
    """Return the name and the value of the only budget.

    Raises:
        TensorTrainError: there is no budget, or there are several.
    """
    present = {name: value for name, value in budgets.items() if value is not None}
    if len(present) != 1:
        named = " and ".join(f"{name} = {value!r}" for name, value in present.items()) or "none"
        raise TensorTrainError(f"exactly one budget of {', '.join(budgets)} is needed; passed: {named}")
    return next(iter(present.items()))
