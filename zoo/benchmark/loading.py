"""Measure whether data load fast enough: the time of a batch compared with the time of a training step."""

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

KTH_SIDE = 128  # height and width in pixels, as published


@dataclass(frozen=True)
class Loading:
    """The time to load a batch of clips, and the time of the model's fastest training step with such a batch.

    Args:
        model: the registered name of the model.
        preset: the preset of its recipe.
        data: the name of the data set.
        batch: the number of clips.
        frames: the number of frames in a clip.
        size: height and width of a frame in pixels.
        fetch_seconds: the time to fetch the batch on the CPU, in the training process.
        render_seconds: the time to send the batch to the device and render it there.
        step_seconds: the time of a step of the fastest variant, on clips of Moving-MNIST.
        share: the time to fetch and render as a fraction of that step, if neither overlaps with it.
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
        """Make the row of a data set, beside the fastest training step of a case.

        Args:
            case: the case whose step is compared.
            data: the name of the data set.
            clips: the data set.
            seconds: the results of `measure_loading`.
            step: the time of the fastest step in seconds.
        """
        settings = case.recipe.data
        side = settings.frame[0] if data == "moving-mnist" and isinstance(settings, Video) else KTH_SIDE
        size = case.recipe.training.batch_size, clips.length, side
        return cls(case.recipe.model, case.preset, data, *size, *seconds, step, sum(seconds) / step)


def find_datasets(data: Data, root: str | Path | None) -> tuple[dict[str, ClipDataset], list[str]]:
    """Open the data set of a recipe and, for video models, KTH if its clips are present.

    Args:
        data: settings of the data set, of which KTH takes the numbers of frames.
        root: the data root.

    Returns:
        The data sets by name, and a line for each data set that is missing.
    """
    datasets = {data.name: make_dataset(data, "train", root)}
    missing: list[str] = []
    if not isinstance(data, Video):
        return datasets, missing
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
    """Measure the time to load a batch of new clips.

    Args:
        clips: the data set.
        batch: the number of clips in the batch.
        device: the device on which the clips are rendered.
        rounds: the number of measurements; fewer than 5 become 5.
        clock: the clock that takes the times.

    Returns:
        The median seconds to fetch the batch on the CPU, and to send it to the device and render it there.
    """
    numbers = count()

    def indices() -> list[int]:
        return [next(numbers) * 7919 % len(clips) for _ in range(batch)]  # scattered, as in training

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
