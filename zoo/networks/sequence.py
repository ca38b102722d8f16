"""Sequence-to-sequence models: an encoder of recurrent layers reads a series, and a decoder continues it."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from zoo.cells.vector import VectorCell
from zoo.errors import ZooError
from zoo.predictors.rollout import roll_out
from zoo.predictors.series_model import SeriesModel


class Decoding(NamedTuple):
    """The state of each layer, and the values `(B, d)` to read before the first prediction."""

    layers: tuple[Any, ...]
    first: Tensor


class SequenceToSequence(SeriesModel):
    """An encoder reads the observed values. A decoder starts from its states and reads its own predictions.

    Each layer of the decoder starts from the last state of the encoder's layer at the same height. The state of a
    tensor-train cell includes its past hidden states. A prediction is `σ(W h + b)` of the top layer's h, so it lies in
    (0, 1), as the scaled series do. Observed values are not predicted: loss and metrics cover the horizon only.

    Yu, Zheng, Anandkumar and Yue, "Long-term forecasting using tensor-train RNNs", 2017, section 3.

    Args:
        make_cell: makes a layer from the number of its inputs.
        layers: number of layers of the encoder, and of the decoder.
        columns: d, the number of values in a step.
        first: what the decoder reads before its first prediction: "last" for the last observed values, or "zero" for
            zeros, as in the authors' code.
        shared: whether encoder and decoder are the same layers, which is the effect of the authors' code. In the paper
            each has its own weights.

    Attributes:
        recompute: save memory in training: keep only the state between predictions; see `zoo.RecurrentPredictor`.

    Raises:
        ZooError: if `layers` is below 1, or `first` is unknown.

    >>> from zoo.cells.vector import LSTMCell
    >>> network = SequenceToSequence(lambda inputs: LSTMCell(inputs, 8), 2, 3, "last", shared=False)
    >>> network(torch.rand(4, 20, 3), horizon=40).shape
    torch.Size([4, 40, 3])
    """

    def __init__(
        self,
        make_cell: Callable[[int], VectorCell],
        layers: int,
        columns: int,
        first: Literal["last", "zero"],
        shared: bool,
    ) -> None:
        super().__init__(columns)
        if layers < 1:
            raise ZooError(f"layers = {layers} must be at least 1")
        if first not in ("last", "zero"):
            raise ZooError(f'first = {first!r} must be "last" or "zero"')
        self.first, self.recompute = first, False
        self.encoder = _layers(make_cell, layers, columns)
        self.decoder = None if shared else _layers(make_cell, layers, columns)
        self.output = nn.Linear(cast("VectorCell", self.encoder[-1]).hidden, columns)

    def forward(self, x: Tensor, horizon: int, truth: Tensor | None = None, use_truth: Tensor | None = None) -> Tensor:
        """Predict the `horizon` values that follow x.

        Args:
            x: observed values `(B, T_in, d)`.
            horizon: the number of steps to predict, at least 1.
            truth: the true values after x, `(B, ≥ horizon - 1, d)`; required with `use_truth`.
            use_truth: the mask of scheduled sampling, bool `(B, horizon - 1)`: True where the model reads the true
                values, False where it reads its own prediction. A mask `(B, T_in + horizon - 2)` for reverse scheduled
                sampling is legal too, but only its last horizon - 1 columns have an effect: all observed values are
                read as they are.

        Returns:
            The predicted values `(B, horizon, d)`.

        Raises:
            ZooError: if shapes do not fit, or the horizon is below 1.
        """
        self.check(x, horizon, truth, use_truth)
        known = None if truth is None or use_truth is None else (truth.transpose(0, 1), use_truth)
        state = self.encode(x.transpose(0, 1))
        steps = roll_out(self.forecast, state, horizon, feeds_back=True, known=known, recompute=bool(self.recompute))
        return steps.transpose(0, 1)

    def encode(self, xs: Tensor) -> Decoding:
        """Read all observed values `(T_in, B, d)`, layer by layer."""
        states = []
        hs = xs
        for layer in cast("list[VectorCell]", list(self.encoder)):
            hs, state = layer.run(hs, layer.initial_state(xs.shape[1], xs.device, xs.dtype))
            states.append(state)
        return Decoding(tuple(states), xs[-1] if self.first == "last" else torch.zeros_like(xs[-1]))

    def forecast(self, state: Decoding, before: Tensor | None) -> tuple[Tensor, Decoding]:
        """Predict the next values `(B, d)` from the previous ones, which are None before the first prediction."""
        h = state.first if before is None else before
        states = []
        for layer, old in zip(self.encoder if self.decoder is None else self.decoder, state.layers, strict=True):
            h, new = layer(h, old)
            states.append(new)
        return torch.sigmoid(self.output(h)), Decoding(tuple(states), state.first)


def _layers(make_cell: Callable[[int], VectorCell], count: int, columns: int) -> nn.ModuleList:
    """A stack of layers; the first one reads the series."""
    layers = [make_cell(columns)]
    for _ in range(count - 1):
        layers.append(make_cell(layers[-1].hidden))
    return nn.ModuleList(layers)
