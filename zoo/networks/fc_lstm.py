"""FC-LSTM: recurrent layers over whole frames as vectors, an encoder and one or two decoders."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from zoo.cells.peephole_lstm import PeepholeLSTMCell, PeepholeState
from zoo.errors import ZooError
from zoo.forecaster import Forecaster

Layers = tuple[PeepholeState, ...]


class Decoder(nn.Module):
    """Layers that go on from the encoder's states, and the linear map from the top one to a frame."""

    def __init__(self, pixels: int, units: Sequence[int], conditioned: bool) -> None:
        super().__init__()
        self.layers = _layers([pixels if conditioned else 0, *units[:-1]], units)
        self.output = nn.Linear(units[-1], pixels)

    def step(self, states: Layers, frame: Tensor | None) -> Layers:
        """One step of every layer, the lowest of which reads a frame `(B, pixels)`, or nothing."""
        x, after = frame, []
        for layer, before in zip(self.layers, states, strict=True):
            x, state = layer(x, before)
            after.append(state)
        return tuple(after)

    def read_out(self, states: Layers) -> Tensor:
        """The frame `(B, pixels)` that the top layer's h stands for."""
        frame: Tensor = torch.sigmoid(self.output(states[-1].h))
        return frame


class Rollout(NamedTuple):
    """The decoder's states, and whether a frame has been predicted from them."""

    layers: Layers
    started: bool


class FCLSTM(Forecaster):
    """An LSTM that reads frames as vectors, and another one that predicts from its states.

    The *composite* model has a second decoder, which reconstructs the observed frames, the last one first; its error
    is added to the loss in training and nothing of it is seen in a prediction.

    Srivastava, Mansimov and Salakhutdinov, "Unsupervised learning of video representations using LSTMs", ICML 2015.

    Args:
        units: number of units of each layer, from the frames up.
        canvas: height and width of the frames; the number of parameters depends on it.
        conditioned: the decoder of the future reads the frame before the one that it predicts.
        composite: reconstruct the observed frames too.
        first: "step" makes an LSTM step before the first prediction; "state" reads the first prediction straight off
            the encoder's last state, the other choice of the authors' code.
        channels: C of the frames.
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
            raise ZooError(f"units = {list(units)}: give the units of at least one layer, each at least 1")
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
        """The frames must have the size of the canvas."""
        if (height, width) != self.canvas:
            raise ZooError(
                f"frames of {height}×{width} pixels do not fit a model made for {self.canvas[0]}×{self.canvas[1]}; "
                f"make one with canvas = [{height}, {width}]"
            )

    def forward(self, x: Tensor, horizon: int, truth: Tensor | None = None, use_truth: Tensor | None = None) -> Tensor:
        """As of every forecaster. In training mode a composite model returns `(B, T_in + horizon, C, H, W)`: the
        reconstructed frames in the order of time, then the predicted ones, so that the loss covers both alike."""
        self.check(x, horizon, truth, use_truth)
        state = self.encode(x.transpose(0, 1))
        future = self.roll_out(state, horizon, truth, use_truth)
        if self.reconstruction is None or not self.training:
            return future
        return torch.cat([self._reconstruct(self.reconstruction, state, x), future], 1)

    def encode(self, frames: Tensor) -> Rollout:
        """Layer by layer, each over all frames `(T, B, C, H, W)`."""
        states = []
        xs = frames.flatten(2)
        for layer in cast("list[PeepholeLSTMCell]", list(self.encoder)):
            xs, state = layer.run(xs, layer.initial_state(frames.shape[1], (1, 1), frames.device, frames.dtype))
            states.append(state)
        return Rollout(tuple(states), False)

    def forecast(self, state: Rollout, frame: Tensor | None) -> tuple[Tensor, Rollout]:
        """One step of the future's decoder, except before the first frame if that is read off the state."""
        prediction, layers = self._decode(self.future, state, None if frame is None else frame.flatten(1))
        return prediction.unflatten(1, (self.channels, *self.canvas)), Rollout(layers, True)

    def _reconstruct(self, decoder: Decoder, state: Rollout, x: Tensor) -> Tensor:
        """The observed frames `(B, T_in, C, H, W)`, decoded from the last one to the first.

        A conditioned decoder reads the true frame that was reconstructed before.
        """
        frames: list[Tensor] = []
        for t in range(x.shape[1] - 1, -1, -1):
            known = x[:, t + 1].flatten(1) if self.feeds_back and frames else None
            frame, layers = self._decode(decoder, state, known)
            frames.insert(0, frame)
            state = Rollout(layers, True)
        return torch.stack(frames, 1).view(x.shape)

    def _decode(self, decoder: Decoder, state: Rollout, frame: Tensor | None) -> tuple[Tensor, Layers]:
        layers = state.layers
        if state.started or self.first == "step":
            layers = decoder.step(layers, frame)
        return decoder.read_out(layers), layers


def _layers(inputs: Sequence[int], units: Sequence[int]) -> nn.ModuleList:
    """A stack of layers over vectors, from the frames up."""
    return nn.ModuleList(PeepholeLSTMCell(below, count, None) for below, count in zip(inputs, units, strict=True))
