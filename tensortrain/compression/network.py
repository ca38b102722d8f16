"""`compress`: make a whole trained network smaller within a budget, judged by its outputs for some inputs."""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

from torch import nn

from tensortrain import checks
from tensortrain.compression.analysed import Network
from tensortrain.compression.analysis.metric import Metric
from tensortrain.compression.analysis.selection import Selector
from tensortrain.compression.budget import time_budget
from tensortrain.compression.budget.fitted import AnyFormat
from tensortrain.compression.budget.plan import KINDS
from tensortrain.compression.budget.progress import Stages
from tensortrain.compression.options import CompressionOptions, budgets_of_curve, check_budget, check_call
from tensortrain.compression.reports import pictures
from tensortrain.compression.result import Compressed
from tensortrain.errors import TensorTrainError
from tensortrain.files import aside, destination

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
        resume: a file that keeps finished layers. It is written every few seconds and at an interruption, after which
            the same call continues from it, with the same result. It is removed at the end. It cannot be combined with
            `milliseconds`, `time` or `max_drop`.
        progress: whether to show the current stage; by default in a terminal, and elsewhere as lines after 15 seconds.

    Returns:
        The compressed network, and the report of its compression.

    Raises:
        TensorTrainError: no layer can be replaced, the budget cannot be reached (the message names the smallest that
            can), the network cannot run on the inputs, weights or outputs are NaN or infinite, an argument is out of
            range, a pattern matches no layer, or the file `resume` cannot be written. Types and ranges of arguments
            are checked before any work.

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
    check_budget(kind, value, inputs)
    if resume is not None:
        destination(checks.path("resume", resume))
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
        TensorTrainError: in the same cases as `compress`, or if there are no fractions or the unit is unknown. Before
            the first network is built, all fractions are checked.

    >>> import torch
    >>> model = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4)).eval()
    >>> curve = compression_curve(model, torch.randn(200, 32), [0.8, 0.4])
    >>> [result.report.parameters[1] <= fraction * 1188 for fraction, result in zip([0.8, 0.4], curve.results)]
    [True, True]
    """
    check_call(metric)
    budgets = budgets_of_curve(fractions, checks.choice("unit", unit, KINDS), inputs)
    options = CompressionOptions(
        include, exclude, at_least, at_most, multiple, formats, effort,
        seconds, objective, samples, output, logits, seed,
    )  # fmt: skip
    with Stages(progress) as stages:
        network = Network.analysed(model, inputs, options, metric, stages)
        return CompressionCurve(network.to_each(unit, budgets))


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
            TensorTrainError: this is no path, the ending is another one, or the file cannot be written.
        """
        ending = checks.path("path", path).suffix.lower()
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
