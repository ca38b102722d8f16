"""Predictions of series, and how they are drawn: as curves over time."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tensortrain.figures import styled
from zoo.data.clips import counted, whole
from zoo.errors import ZooError
from zoo.evaluation.comparison_curves import save_figure
from zoo.evaluation.frame_files import write_arrays
from zoo.evaluation.pictures import check_models, continuations
from zoo.names import CURVES, check_suffix
from zoo.predictors.predictor import Predictor, check_tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class SeriesPrediction:
    """The observed, predicted and true values of one series.

    Args:
        observed: the values that the models observed, `(T_in, d)`.
        predictions: the values `(horizon, d)` that each model predicts next, by the model's name.
        truth: the true next values `(≤ horizon, d)`, as many as are known.
        columns: the names of the d columns.
    """

    observed: Tensor
    predictions: Mapping[str, Tensor]
    truth: Tensor
    columns: Sequence[str]

    @styled
    def figure(self) -> "Figure":
        """Draw a panel for each column: observed and true values as one line, and each prediction as a line."""
        from matplotlib.figure import Figure

        seen = len(self.observed)
        figure = Figure(figsize=(9, 2.2 * len(self.columns) + 0.6), layout="constrained")
        panels = list(figure.subplots(len(self.columns), 1, sharex=True, squeeze=False).flat)
        for at, (axes, column) in enumerate(zip(panels, self.columns, strict=True)):
            known = [*self.observed[:, at].tolist(), *self.truth[:, at].tolist()]
            axes.plot(range(1, len(known) + 1), known, color="0.2", label="truth")
            for name, values in self.predictions.items():
                axes.plot(range(seen + 1, seen + len(values) + 1), values[:, at].tolist(), marker=".", label=name)
            axes.axvline(seen + 0.5, color="0.6", linestyle="--", linewidth=1)
            axes.set_ylabel(column)
            axes.grid(alpha=0.3)
        panels[-1].set_xlabel(f"step; the models observe the first {seen}")
        panels[-1].xaxis.get_major_locator().set_params(integer=True)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
        return figure

    def _repr_png_(self) -> bytes:
        """For notebooks: the figure."""
        data = io.BytesIO()
        self.figure().savefig(data, format="png", dpi=90)
        return data.getvalue()

    def save(self, path: str | Path) -> None:
        """Write the figure (`.png`) or all numbers (`.npz`). After an error, nothing incomplete is left.

        An `.npz` file holds `observed`, `truth`, `predictions` `(models, horizon, d)`, and the names `models` and
        `columns`.

        Raises:
            ZooError: if the suffix is another one, or the folder cannot be written.
        """
        check_suffix(path, CURVES)
        if Path(path).suffix.lower() == ".png":
            save_figure(self.figure(), path)
        else:
            columns = list(self.columns)
            write_arrays(path, observed=self.observed, truth=self.truth, predictions=self.predictions, columns=columns)


def predict_series(
    models: Mapping[str, Predictor],
    series: Tensor,
    horizon: int = 10,
    observed: int = 10,
    columns: Sequence[str] | None = None,
    device: torch.device | str | None = None,
) -> SeriesPrediction:
    """Let models predict how a series continues.

    Args:
        models: the models, by the names that pictures show.
        series: values `(T, d)`. The values after the first `observed` steps are the truth, as far as they go.
        horizon: the number of steps to predict, at least 1.
        observed: the number of observed steps T_in, at least 1.
        columns: the names of the d columns; by default their numbers.
        device: where to compute; by default where each model is.

    Returns:
        The prediction, with `save` and `figure`.

    Raises:
        ZooError: if there are no models or they have no names, the series has fewer steps than `observed`, there is not
            one name for each column, or a model cannot read the values.

    >>> import torch, zoo
    >>> models = {"lstm": zoo.create_model("lstm")}
    >>> prediction = predict_series(models, torch.rand(25, 3), horizon=10, observed=20)
    >>> prediction.predictions["lstm"].shape, prediction.truth.shape
    (torch.Size([10, 3]), torch.Size([5, 3]))
    """
    check_models(models)
    horizon, observed = whole("horizon", horizon), whole("observed", observed)
    check_tensor(series, "series")
    if series.dim() != 2 or observed > len(series):
        raise ZooError(
            f"a series of shape {tuple(series.shape)} does not have {counted(observed, 'step')} to observe; it must be "
            f"(T ≥ {observed}, d)"
        )
    names = [f"{at + 1}" for at in range(series.shape[1])] if columns is None else list(columns)
    if len(names) != series.shape[1]:
        raise ZooError(f"columns = {names} has {len(names)} names for {series.shape[1]} columns; pass one for each")
    predictions = continuations(models, series, horizon, observed, device)
    return SeriesPrediction(series[:observed].cpu(), predictions, series[observed : observed + horizon].cpu(), names)
