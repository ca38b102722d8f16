"""Measure how many times faster clips are loaded than the `small` ConvLSTM consumes them in training.

    python -m tests.benchmarks.loading [--threads 2] [--rounds 5]

Fetching and rendering a batch, and a training step on it, are timed in alternation in one run; the ratio is that of
the medians. The videos are made for this: noise, as long as KTH's, which it takes longest to decode. At least 5 is
asked for; exit status 1 below.
"""

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch

import zoo
from zoo.benchmark import make_trial
from zoo.data import make_dataset, prepare_kth

LEAST = 5.0
FRAMES, VIDEOS = 400, 4


def main() -> None:
    """Print a line for each data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{platform.machine()}, torch {torch.__version__}, {arguments.threads} threads, {arguments.rounds} rounds")
    print(f"{'data set':30} {'batch':>14} {'loading ms':>11} {'step ms':>9} {'ratio':>7}")
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        make_videos(Path(folder))
        for dataset in ("moving-mnist", "kth", f"videos:{folder}/videos"):
            ratios.append(measure(dataset, Path(folder), arguments.rounds))
    sys.exit(min(ratios) < LEAST)


def make_videos(root: Path) -> None:
    """Write videos of noise, as a folder and as a store of KTH."""
    import av

    names = [f"person{person:02}_walking_d1" for person in range(1, VIDEOS)] + ["person15_walking_d1"]
    noise = np.random.default_rng(0)
    (root / "videos").mkdir()
    for name in names:
        with av.open(str(root / "videos" / f"{name}_uncomp.avi"), "w") as container:
            stream = container.add_stream("mjpeg", rate=25)
            stream.height, stream.width, stream.pix_fmt = 120, 160, "yuvj420p"
            for _ in range(FRAMES):
                frame = av.VideoFrame.from_ndarray(noise.integers(0, 256, (120, 160), np.uint8), format="gray")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    lines = [f"{name} frames 1-{FRAMES}" for name in names]
    (root / "videos" / "00sequences.txt").write_text("\n".join(lines))
    prepare_kth(root, root / "videos", progress=False)


def measure(dataset: str, root: Path, rounds: int) -> float:
    """Print the median times of loading and training for a data set; returns their ratio."""
    recipe = zoo.recipe("conv-lstm", "small", dataset=dataset)
    clips = make_dataset(recipe.data, "train", root)
    loading: list[float] = []
    steps: list[float] = []
    trial = make_trial(recipe, "training", clips, torch.device("cpu"), ratio=1.0)
    batches = numbers(recipe.training.batch_size)
    for warm in range(rounds + 1):
        batch, seconds = timed(lambda: clips.clips(next(batches)))
        _, consumed = timed(trial.run)
        if warm:
            loading.append(seconds)
            steps.append(consumed)
    ratio = median(steps) / median(loading)
    shape = "×".join(map(str, batch.shape))
    name = dataset.partition(":")[0]
    print(f"{name:30} {shape:>14} {1e3 * median(loading):11.1f} {1e3 * median(steps):9.0f} {ratio:7.1f}", flush=True)
    return ratio


def numbers(batch: int) -> Iterator[range]:
    """The clip indices of one batch after the other."""
    first = 0
    while True:
        yield range(first, first + batch)
        first += batch


def timed(run: Callable[[], object]) -> tuple[object, float]:
    """What a function returns, and the seconds it takes."""
    start = time.perf_counter()
    return run(), time.perf_counter() - start


if __name__ == "__main__":
    main()
