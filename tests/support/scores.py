"""Random clips, a tiny model of them, and its scores, for tests of measuring and comparing."""

import weakref
from typing import NamedTuple

import torch
from rich.console import Console
from torch import Tensor, nn

from zoo.data import ClipDataset
from zoo.evaluation import evaluate, find_convention
from zoo.predictors.recurrent import RecurrentPredictor


class Indices(NamedTuple):
    clips: Tensor


class Clips(ClipDataset):
    """Clip i is random frames, seeded by i; remembers what it rendered."""

    def __init__(self, length=8, count=7, channels=1, comparable_with="moving-mnist-2", size=(20, 18)):
        self.length, self.count, self.frame = length, count, (channels, *size)
        self.comparable_with = comparable_with
        self.rendered = []

    def __len__(self):
        return self.count

    def fetch(self, indices):
        return Indices(torch.tensor(list(indices)))

    def render(self, batch):
        clips = [
            torch.rand(self.length, *self.frame, generator=torch.Generator().manual_seed(i))
            for i in batch.clips.tolist()
        ]
        self.rendered.append(weakref.ref(result := torch.stack(clips)))
        return result

    def describe(self):
        return "random frames"


class Conv(RecurrentPredictor):
    """The next frame is a conv of this one and of a running mean; dropout would show a forgotten `eval()`."""

    def __init__(self, channels=1):
        super().__init__(channels)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.conv = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.dropout = nn.Dropout(0.5)
        self.calls = []

    def initial_state(self, batch, size, device, dtype):
        return torch.zeros(batch, self.channels, *size, device=device, dtype=dtype)

    def read(self, frames, state):
        predictions = []
        for frame in frames:
            state = 0.5 * (state + frame)
            predictions.append(frame + self.dropout(self.conv(torch.cat([frame, state], 1))))
        self.calls.append(torch.is_grad_enabled())
        return torch.stack(predictions), state


PLAIN = ("mse", "mae", "psnr", "ssim")


def score(name="model", model=None, horizon=3, observed=4, convention="standard", **options):
    """Scores of the tiny model on tiny clips, without LPIPS."""
    dataset = Clips(**{"length": horizon + observed, **options})
    metrics = [key for key in PLAIN if key in find_convention(convention)]
    return evaluate(
        model or Conv(), dataset, horizon, observed=observed, convention=convention, metrics=metrics, name=name
    )


def printed(renderable, width=250):
    console = Console(width=width)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()
