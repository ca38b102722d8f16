"""The report of a compression: the results for each layer and for the whole network."""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

from tensortrain import checks
from tensortrain.compression.analysis.outputs import Difference
from tensortrain.compression.analysis.timing import Quartiles
from tensortrain.compression.reports import pictures
from tensortrain.compression.reports.result_pages import foot, parameter_chart, reasons
from tensortrain.conv.planner import FASTER
from tensortrain.errors import TensorTrainError
from tensortrain.files import aside
from tensortrain.pages import Bars, Details, Page, Part, Section, Tile
from tensortrain.tables import Column, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEGEND = (
    "form: kernel sizes of the cores, from the output to the input. kept, MACs: shares of the original layer's "
    "parameters and MACs. ms: milliseconds on this machine, before → after. error: relative error of the layer's "
    "outputs. predicted: the error expected when the ranks were chosen. bound: no layer with outputs of the same rank "
    "has a smaller error. in network: the error when the layers before it are replaced too. weights: relative "
    "Frobenius error of the weight. alone: change of the network's outputs if only this layer is replaced."
)
ENDINGS = (".html", ".json", ".csv", ".png")  # legal endings of a report's file name


@dataclass(frozen=True)
class LayerReport:
    """The results for one conv or linear layer.

    Attributes:
        name: name of the module.
        kind: type and shape, such as `"Conv2d 64→64 3×3"`.
        state: "factorised", "refitted" (dense, with another weight), "unchanged" or "left alone".
        form: kernel sizes of the factors, output side first; for a dense layer, its own kernel size.
        ranks: channels between the factors.
        parameters: number of entries of the weights, before and after.
        macs: multiply-accumulates for each sample, before and after; None without inputs.
        predicted: relative error of the outputs that was expected when the ranks were chosen.
        error: relative error of the outputs of the new layer, measured on the inputs of the dense network.
        bound: lower bound of this error for all layers whose outputs have the same rank; 0 for an unchanged layer, None
            for one that was refitted or left alone, or whose bound would take long.
        following: relative error of the outputs inside the compressed network, where earlier layers are replaced too.
        frobenius: relative Frobenius error of the weight.
        milliseconds: time of all calls of the layer for the timed batch, before and after, measured in alternation;
            None for layers that were not factorised.
        note: the reason why the layer was left alone, or a remark.
        alone: effect on the network's outputs if only this layer is replaced: their KL divergence in nats, or their
            relative error if they are not logits.
    """

    name: str
    kind: str
    state: str
    form: str
    ranks: tuple[int, ...]
    parameters: tuple[int, int]
    macs: tuple[float, float] | None = None
    predicted: float | None = None
    error: float | None = None
    bound: float | None = None
    following: float | None = None
    frobenius: float | None = None
    milliseconds: tuple[float, float] | None = None
    note: str = ""
    alone: float | None = None


@dataclass(frozen=True)
class Report:
    """The report of a compression. `print` shows it as a table.

    Attributes:
        layers: all conv and linear layers: those that may be replaced, in the order of their first call, and then those
            that were left alone.
        budget: the requested budget, in words.
        parameters: number of parameters of the whole network, before and after.
        memory: memory of its parameters and buffers in bytes, before and after.
        macs: multiply-accumulates for each sample, before and after, counted while the networks ran; None without
            inputs.
        reached: share of the parameters that are in layers which can be replaced.
        error: sum of the layers' squared relative errors that was expected when the ranks were chosen; it is weighted
            if the notes say so.
        bound: lower bound of that sum for all choices of ranks within the budget.
        outputs: difference of the networks' outputs on the calibration inputs; None without inputs, or if the shapes of
            the outputs differ.
        batch_norm: whether the statistics of batch-norm layers were estimated again and kept; None without such layers
            or inputs.
        milliseconds: quartiles of the time of the timed batch, for the original and for the result; None without
            inputs.
        timed: number of samples of that batch.
        metric: the metric of the original and of the result; None if no metric was passed.
        samples: number of calibration inputs.
        digest: digest of the calibration inputs; None without inputs.
        seed: seed of all random choices.
        seconds: duration of each stage of the compression.
        notes: further remarks.

    >>> import torch, tensortrain as tt
    >>> report = tt.compress(torch.nn.Sequential(torch.nn.Linear(8, 8)), parameters=0.7).report
    >>> report.parameters, report.layers[0].state
    ((72, 40), 'factorised')
    """

    layers: list[LayerReport]
    budget: str
    parameters: tuple[int, int]
    memory: tuple[int, int]
    macs: tuple[float, float] | None
    reached: float
    error: float
    bound: float
    outputs: Difference | None
    batch_norm: bool | None
    milliseconds: tuple[Quartiles, Quartiles] | None
    timed: int
    metric: tuple[float, float] | None
    samples: int
    digest: str | None
    seed: int
    seconds: dict[str, float]
    notes: list[str]

    def to_json(self) -> str:
        """Return all values as JSON, which has no NaN and no infinity: such values are `null`."""
        return json.dumps(_legal(dataclasses.asdict(self)), indent=1, ensure_ascii=False, allow_nan=False)

    def to_csv(self) -> str:
        """Return a CSV table with one row for each layer."""
        text = io.StringIO()
        names = ["name", "kind", "state", "form", "ranks", "parameters", "parameters_after", "macs", "macs_after"]
        names += ["milliseconds", "milliseconds_after"]
        numbers = ["predicted", "error", "bound", "following", "frobenius", "alone"]
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*names, *numbers, "note"])
        for layer in self.layers:
            ranks = " ".join(map(str, layer.ranks))
            row: list[Any] = [layer.name, layer.kind, layer.state, layer.form, ranks, *layer.parameters]
            row += [*(layer.macs or ("", "")), *(layer.milliseconds or ("", ""))]
            writer.writerow([*row, *(getattr(layer, name) for name in numbers), layer.note])
        return text.getvalue()

    def plot(self) -> "Figure":
        """Draw the parameters of each layer before and after, and the errors of its outputs.

        Raises:
            TensorTrainError: matplotlib is not installed.
        """
        names = [layer.name or layer.kind for layer in self.layers]
        before, after = ([layer.parameters[i] for layer in self.layers] for i in (0, 1))
        errors, predicted = ([getattr(layer, name) for layer in self.layers] for name in ("error", "predicted"))
        return pictures.layer_chart(names, before, after, errors, predicted)

    def to_png(self) -> bytes:
        """Return the drawing of `plot` as the bytes of a PNG file.

        Raises:
            TensorTrainError: matplotlib is not installed.
        """
        return pictures.png(self.plot())

    def to_html(self) -> str:
        """Return an HTML page with all charts and values, which needs no other file.

        Raises:
            TensorTrainError: neither matplotlib nor altair and vl-convert-python are installed.
        """
        return self.page().to_html()

    def page(self) -> Page:
        """Return the page of `to_html` as an object."""
        layers = self.layers
        names = [layer.name or layer.kind for layer in layers]
        before, after = ([layer.parameters[i] for layer in layers] for i in (0, 1))
        charts: list[Part] = [parameter_chart(names, before, after)]
        kinds = {"predicted": [layer.predicted for layer in layers], "measured": [layer.error for layer in layers]}
        if any(error is not None for error in kinds["measured"]):
            charts.append(Bars("Error of each layer's outputs", "relative error", "layer", rows=names, bars=kinds))
        times = {layer.name or layer.kind: layer.milliseconds for layer in layers if layer.milliseconds is not None}
        if times:
            bars = {when: [pair[i] for pair in times.values()] for i, when in enumerate(("before", "after"))}
            charts.append(Bars("Time of each layer, on this machine", "ms", "layer", rows=list(times), bars=bars))
        alone = {layer.name or layer.kind: layer.alone for layer in layers if layer.alone is not None}
        if alone:
            bars = {"alone": list(alone.values())}
            title = "Change of the outputs if only this layer is replaced"
            charts.append(Bars(title, "KL divergence or relative error", "layer", rows=list(alone), bars=bars))
        sections = [Section("Layers", [*charts, self.table()])]
        if notes := [[layer.name, layer.note] for layer in layers if layer.note]:
            sections.append(Section("Notes on single layers", [reasons(notes)]))
        sections.append(Section("All values", [Details("As JSON", self.to_json())]))
        return Page("Compressed network", self.lines()[:1], self._tiles(), sections, foot())

    def _tiles(self) -> list[Tile]:
        before, after = self.parameters
        tiles = [Tile(f"{after / before:.1%}", "of the parameters kept", f"{after:,} of {before:,}")]
        if self.macs is not None and self.macs[0]:
            tiles.append(Tile(f"{self.macs[1] / self.macs[0]:.1%}", "of the MACs", f"{self.macs[1]:,.0f} a sample"))
        if self.outputs is not None:
            tiles.append(Tile(f"{self.outputs.error:.3f}", "error of the outputs", f"on {self.samples:,} inputs"))
            if self.outputs.agreement is not None:
                tiles.append(Tile(f"{self.outputs.agreement:.1%}", "same answers as before"))
        if self.milliseconds is not None:
            was, now = (times[1] for times in self.milliseconds)
            factor = was / now if now <= was else now / was
            which = "faster here" if now <= was else "slower here"
            tiles.append(Tile(f"{factor:.2f}×", which, f"{was:.3g} → {now:.3g} ms"))
        if self.metric is not None:
            tiles.append(Tile(f"{self.metric[1]:.4g}", "metric", f"{self.metric[0]:.4g} before"))
        return tiles

    def save(self, path: str | PathLike[str]) -> None:
        """Write the report in the format of the path's ending: .json, .csv, .png or .html.

        Args:
            path: the file to write.

        Raises:
            TensorTrainError: the ending is another one, matplotlib is not installed but needed, or the file cannot be
                written.
        """
        texts = {".json": self.to_json, ".csv": self.to_csv, ".html": self.to_html}
        ending = checks.path("path", path).suffix.lower()
        if ending not in ENDINGS:
            raise TensorTrainError(f"{path} ends in {ending!r}; legal: {', '.join(ENDINGS)}")
        content = self.to_png() if ending == ".png" else texts[ending]().encode()
        with aside(path) as temporary:
            temporary.write_bytes(content)

    def __str__(self) -> str:
        return self.table().text()

    def table(self) -> Table:
        """Return the table with a row for each layer; below it are the totals and a legend."""
        words = [Column(name, words=True) for name in ("layer", "kind", "form", "ranks")]
        numbers = ("parameters", "kept", "MACs", "ms", "predicted", "error", "bound", "in network", "weights", "alone")
        rows = []
        for layer in self.layers:
            before, after = layer.parameters
            errors = (layer.predicted, layer.error, layer.bound, layer.following, layer.frobenius, layer.alone)
            row = [layer.name, layer.kind, layer.form if layer.state == "factorised" else layer.state]
            row += [",".join(map(str, layer.ranks)), f"{after:,}", f"{after / before:.0%}" if before else ""]
            rows.append([*row, _part(layer.macs), _times(layer.milliseconds), *map(_number, errors)])
        used = [i for i in range(len(words) + len(numbers)) if i < 2 or any(row[i] for row in rows)]
        columns = [*words, *map(Column, numbers)]
        notes = (*self.lines(), LEGEND)
        return Table([columns[i] for i in used], [[row[i] for i in used] for row in rows], notes=notes)

    def lines(self) -> Sequence[str]:
        """Return sentences about the network as a whole."""
        before, after = self.parameters
        lines = [f"{self.budget}: {after:,} of {before:,} parameters ({after / before:.1%})"]
        if self.macs is not None:
            lines[0] += f", {self.macs[1]:,.0f} of {self.macs[0]:,.0f} MACs ({self.macs[1] / self.macs[0]:.1%})"
        lines[0] += f"; {self.reached:.1%} of the parameters are in layers that can be replaced"
        lines.append(
            f"sum of the predicted squared errors of the layers: {self.error:.4g}; for no choice of ranks within the"
            f" budget is it below {self.bound:.4g}"
        )
        if self.outputs is not None:
            lines.append(_output_line(self.outputs, self.samples) + self._expected())
        elif self.samples:
            lines.append("the outputs differ in shape from the original's, so they were not compared")
        else:
            lines.append("no inputs: errors are relative Frobenius errors of the weights, no layer was fitted again")
        if self.milliseconds is not None:
            before_ms, after_ms = ("{1:.3g} ms ({0:.3g} to {2:.3g})".format(*values) for values in self.milliseconds)
            slower = sum(layer.milliseconds[1] > layer.milliseconds[0] for layer in self.layers if layer.milliseconds)
            lines.append(
                f"time of {self.timed} samples (quartiles): {after_ms}, original {before_ms}"
                + (f"; layers that became slower here: {slower}" if slower else "")
            )
        if self.metric is not None:
            lines.append(f"metric: {self.metric[0]:.4f} before, {self.metric[1]:.4f} after")
        for layer in self.layers:
            if layer.note:
                lines.append(f"{layer.name}: {layer.note}")
        lines += self.notes
        lines.append(
            f"it took {sum(self.seconds.values()):.1f} s: " + ", ".join(f"{k} {v:.1f}" for k, v in self.seconds.items())
        )
        return lines

    def _expected(self) -> str:
        """Return the sum of the effects of the layers, each replaced alone, to compare with the effect of all."""
        values = [layer.alone for layer in self.layers if layer.alone is not None]
        if not values or self.outputs is None:
            return ""
        if self.outputs.kl is None:
            return f"; sum over the layers, each replaced alone: {sum(value**2 for value in values) ** 0.5:.4f}"
        return f"; sum over the layers, each replaced alone: {sum(values):.4g} nats"


def _legal(value: Any) -> Any:
    """Return a value with None for every number that JSON does not have."""
    if isinstance(value, dict):
        return {key: _legal(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_legal(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _part(pair: tuple[float, float] | None) -> str:
    return "" if pair is None or not pair[0] else f"{pair[1] / pair[0]:.0%}"


def _times(pair: tuple[float, float] | None) -> str:
    """Return the milliseconds before and after, and whether the layer is faster or slower."""
    if pair is None:
        return ""
    before, after = pair
    return f"{before:.3g} → {after:.3g}" + (
        " slower" if after > before else " faster" if after <= FASTER * before else ""
    )


def _output_line(outputs: Difference, samples: int) -> str:
    text = f"outputs on {samples:,} inputs: relative error {outputs.error:.4f}"
    if outputs.kl is not None and outputs.agreement is not None:
        text += f", KL divergence {outputs.kl:.4g} nats, same class for {outputs.agreement:.2%}"
    return text


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
