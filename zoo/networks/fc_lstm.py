"""FC-LSTM: recurrent layers that read whole frames as vectors, with one encoder and one or two decoders."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from zoo.cells.peephole_lstm import PeepholeLSTMCell, PeepholeState
from zoo.errors import ZooError
from zoo.predictors.forecaster import Forecaster

Layers = tuple[PeepholeState, ...]


class Decoder(nn.Module):
    """Layers that start from the encoder's states, and a linear map from the top layer to a frame."""

    def __init__(self, pixels: int, units: Sequence[int], conditioned: bool) -> None:
        super().__init__()
        self.layers = _layers([pixels if conditioned else 0, *units[:-1]], units)
        self.output = nn.Linear(units[-1], pixels)

    def step(self, states: Layers, frame: Tensor | None) -> Layers:
        """One step of all layers. The lowest layer reads a frame `(B, pixels)`, or nothing if it is None."""
        x, after = frame, []
        for layer, before in zip(self.layers, states, strict=True):
            x, state = layer(x, before)
            after.append(state)
        return tuple(after)

    def read_out(self, states: Layers) -> Tensor:
        """The frame `(B, pixels)` that is decoded from the top layer's h."""
        frame: Tensor = torch.sigmoid(self.output(states[-1].h))
        return frame


class Rollout(NamedTuple):
    """The decoder's states, and whether a frame was already predicted from them."""

    layers: Layers
    started: bool


class FCLSTM(Forecaster):
    """An LSTM that reads frames as vectors, and a second LSTM that predicts from its states.

    The *composite* model has a further decoder, which reconstructs the observed frames, the last one first. In training
    its error is added to the loss; predictions do not contain it.

    Srivastava, Mansimov and Salakhutdinov, "Unsupervised learning of video representations using LSTMs", ICML 2015.

    Args:
        units: number of units of each layer, starting next to the frames.
        canvas: height and width of the frames. The number of parameters depends on them.
        conditioned: whether the decoder of the future reads the frame before the one that it predicts.
        composite: whether to reconstruct the observed frames too.
        first: "step" makes an LSTM step before the first prediction. "state" decodes the first prediction from the
            encoder's last state, the other choice in the authors' code.
        channels: C of the frames.

    Raises:
        ZooError: if `units` or `canvas` is not as above, or `first` is unknown.
    """

    def __init__(
        self,
        units: Sequence[int],
        canvas: Sequence[int],
        conditioned: bool,
        composite: bool,
        first: Literal["step", "state"],
        channels: int,
    ) -> None:
        super().__init__(channels, feeds_back=conditioned)
        if not units or min(units) < 1:
            raise ZooError(f"units = {list(units)} must list the units of at least one layer, each at least 1")
        if len(canvas) != 2 or min(canvas) < 1:
            raise ZooError(f"canvas = {list(canvas)} must be the height and the width of the frames")
        if first not in ("step", "state"):
            raise ZooError(f'first = {first!r} must be "step" or "state"')
        self.canvas, self.first = (int(canvas[0]), int(canvas[1])), first
        pixels = channels * self.canvas[0] * self.canvas[1]
        self.encoder = _layers([pixels, *units[:-1]], units)
        self.future = Decoder(pixels, units, conditioned)
        self.reconstruction = Decoder(pixels, units, conditioned) if composite else None

    def check_size(self, height: int, width: int) -> None:
        """Raise a ZooError unless the frames have the size of the canvas."""
        if (height, width) != self.canvas:
            raise ZooError(
                f"frames of {height}×{width} pixels do not fit a model made for {self.canvas[0]}×{self.canvas[1]}; "
                f"make one with canvas = [{height}, {width}]"
            )

    def forward(self, x: Tensor, horizon: int, truth: Tensor | None = None, use_truth: Tensor | None = None) -> Tensor:
        """Predict the frames after x, as in `zoo.predictors.forecaster.Forecaster.forward`.

        In training mode, a composite model returns `(B, T_in + horizon, C, H, W)`: the reconstructed frames in the
        order of time, followed by the predicted ones, so that the loss covers both.
        """
        self.check(x, horizon, truth, use_truth)
        state = self.encode(x.transpose(0, 1))
        future = self.roll_out(state, horizon, truth, use_truth)
        if self.reconstruction is None or not self.training:
            return future
        return torch.cat([self._reconstruct(self.reconstruction, state, x), future], 1)

    def encode(self, frames: Tensor) -> Rollout:
        """Read all frames `(T, B, C, H, W)`, layer by layer."""
        states = []
        xs = frames.flatten(2)
        for layer in cast("list[PeepholeLSTMCell]", list(self.encoder)):
            xs, state = layer.run(xs, layer.initial_state(frames.shape[1], (1, 1), frames.device, frames.dtype))
            states.append(state)
        return Rollout(tuple(states), False)

    def forecast(self, state: Rollout, frame: Tensor | None) -> tuple[Tensor, Rollout]:
        """Predict the next frame by one step of the decoder. With `first="state"`, the first frame needs no step."""
        prediction, layers = self._decode(self.future, state, None if frame is None else frame.flatten(1))
        return prediction, Rollout(layers, True)

    def _reconstruct(self, decoder: Decoder, state: Rollout, x: Tensor) -> Tensor:
        """The observed frames `(B, T_in, C, H, W)`, decoded from the last one to the first.

        A conditioned decoder reads the true frame that it reconstructed before.
        """
        frames: list[Tensor] = []
        for t in range(x.shape[1] - 1, -1, -1):
            known = x[:, t + 1].flatten(1) if self.feeds_back and frames else None
            frame, layers = self._decode(decoder, state, known)
            frames.insert(0, frame)
            state = Rollout(layers, True)
        return torch.stack(frames, 1)

    def _decode(self, decoder: Decoder, state: Rollout, frame: Tensor | None) -> tuple[Tensor, Layers]:
        """Decode one frame `(B, C, H, W)`. `frame` is the one before it, flattened, or None."""
        layers = state.layers
        if state.started or self.first == "step":
            layers = decoder.step(layers, frame)
        return self.normalized(decoder.read_out(layers).unflatten(1, (self.channels, *self.canvas))), layers


def _layers(inputs: Sequence[int], units: Sequence[int]) -> nn.ModuleList:
    """A stack of layers over vectors, starting next to the frames."""
    return nn.ModuleList(PeepholeLSTMCell(below, count, None) for below, count in zip(inputs, units, strict=True))
