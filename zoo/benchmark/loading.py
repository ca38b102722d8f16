"""Whether the data load fast enough: the seconds of a batch beside those of a training step."""

import statistics
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import torch

from tensortrain.profiling.clock import Clock, alternate
from zoo.benchmark.measurement import Case
from zoo.data import ClipDataset, make_dataset
from zoo.errors import ZooError
from zoo.settings import Data, KTHData, Video

KTH_SIDE = 128  # pixels, as published


@dataclass(frozen=True)
class Loading:
    """A batch of clips beside the fastest training step of a model that would take it.

    Args:
        model: registered name of the model.
        preset: preset of its recipe.
        data: name of the data set.
        batch: clips.
        frames: number of frames of a clip.
        size: pixels on a side.
        fetch_seconds: to fetch the batch on the CPU, in the training process.
        render_seconds: to send the batch to the device and render it there.
        step_seconds: time of a step of the fastest variant, on clips of Moving-MNIST.
        share: fetching and rendering as a share of that step, if neither overlaps with it.
    """

    model: str
    preset: str
    data: str
    batch: int
    frames: int
    size: int
    fetch_seconds: float
    render_seconds: float
    step_seconds: float
    share: float

    @classmethod
    def beside(cls, case: Case, data: str, clips: ClipDataset, seconds: tuple[float, float], step: float) -> "Loading":
        """From `measure_loading`'s seconds and those of the fastest step of a case."""
        settings = case.recipe.data
        side = settings.frame[0] if data == "moving-mnist" and isinstance(settings, Video) else KTH_SIDE
        size = case.recipe.training.batch_size, clips.length, side
        return cls(case.recipe.model, case.preset, data, *size, *seconds, step, sum(seconds) / step)


def find_datasets(data: Data, root: str | Path | None) -> tuple[dict[str, ClipDataset], list[str]]:
    """Moving-MNIST, and KTH if its clips are here; and for what is missing a line that says so."""
    datasets, missing = {"moving-mnist": make_dataset(data, "train", root)}, []
    try:
        datasets["kth"] = make_dataset(
            KTHData(size=KTH_SIDE, observed=data.observed, length=data.length), "train", root
        )
    except ZooError as error:
        missing.append(f"no clips of KTH: {error}")
    return datasets, missing


def measure_loading(
    clips: ClipDataset, batch: int, device: torch.device, rounds: int, clock: Clock
) -> tuple[float, float]:
    """Median seconds to fetch a batch of clips not seen before, and to send it to the device and render it there."""
    numbers = count()

    def indices() -> list[int]:
        return [next(numbers) * 7919 % len(clips) for _ in range(batch)]  # scattered, as training takes them

    fetched = clips.fetch(indices())

    def send_and_render() -> None:
        clips.render(type(fetched)(*(part.to(device) for part in fetched)))

    send_and_render()
    times = alternate(
        {
            "fetch": lambda: clock.seconds(lambda: clips.fetch(indices())),
            "render": lambda: clock.seconds(send_and_render),
        },
        max(rounds, 5),
    )
    fetch, render = (statistics.median(one[name] for one in times) for name in ("fetch", "render"))
    return fetch, render
