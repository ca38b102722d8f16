"""Compress the zoo's trained video models and measure what that costs: squared error, multiplications, time.

    python -m tests.benchmarks.compressed_models [--models conv-lstm …] [--budgets .5 .25] [--clips 16] [--count 100]
        [--steps 300] [--data-root DIR]

Each row is one model and budget: without training, and after some steps of Adam on its own training clips.
"""

import argparse
import copy
import sys
import time

import torch

from tests.benchmarks.compression import print_row
from zoo.compressed import compress_model
from zoo.data import make_dataset
from zoo.evaluation import evaluate
from zoo.pretrained import load_pretrained
from zoo.settings import Recipe
from zoo.video_model import VideoModel

MODELS = {
    "conv-lstm": "moving-mnist-small",
    "conv-tt-lstm-sw": "moving-mnist-small",
    "predrnn-pp": "moving-mnist-brief",
}
WANTED = {0.5: 1.02, 0.25: 1.10}  # squared error relative to that of the original
RATE, BATCH = 3e-4, 4  # of the fine-tuning


def squared_error(model: VideoModel, recipe: Recipe, arguments: argparse.Namespace) -> float:
    """Mean squared error per pixel of ten predicted frames on the first test clips."""
    observed = recipe.data.observed
    dataset = make_dataset(recipe.data, "test", arguments.data_root, observed + 10)
    scores = evaluate(model, dataset, 10, observed=observed, metrics=["mse"], count=arguments.count)
    return scores.average["mse"]


def tuned(model: VideoModel, recipe: Recipe, steps: int, root: str | None) -> VideoModel:
    """The model after some steps on training clips that the calibration has not seen."""
    model = copy.deepcopy(model).train()
    dataset, observed = make_dataset(recipe.data, "train", root), recipe.data.observed
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - step / steps)
        clips = dataset.clips(range(1000 + BATCH * step, 1000 + BATCH * (step + 1)))
        predictions = model(clips[:, :observed], clips.shape[1] - observed)
        loss = model.loss(predictions, clips, recipe.training.l1, recipe.training.l2)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


def rows(name: str, arguments: argparse.Namespace) -> None:
    """One model to all budgets."""
    model, recipe = load_pretrained(name, MODELS[name])
    before = squared_error(model, recipe, arguments)
    clips = make_dataset(recipe.data, "train", arguments.data_root).clips(range(arguments.clips))
    for budget in arguments.budgets:
        start = time.process_time()
        result = compress_model(model, recipe, clips, parameters=budget, progress=False)
        seconds, report = time.process_time() - start, result.report
        assert report.macs is not None
        assert report.milliseconds is not None
        small: VideoModel = result.model  # type: ignore[assignment]
        error = squared_error(small, recipe, arguments) / before
        cells = [f"{report.parameters[1] / report.parameters[0]:.1%}", f"{report.macs[1] / report.macs[0]:.1%}"]
        cells += [f"{report.milliseconds[1][1] / report.milliseconds[0][1]:.2f}", f"{before:.5f}", f"{error - 1:+.1%}"]
        reached = "yes" if error <= WANTED.get(budget, 1.0) else "NO"
        after = "-"
        if arguments.steps:
            trained = tuned(small, recipe, arguments.steps, arguments.data_root)
            after = f"{squared_error(trained, recipe, arguments) / before - 1:+.1%}"
        print_row(name, f"{budget:.0%}", *cells, reached, after, f"{seconds:.0f}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--budgets", nargs="+", type=float, default=list(WANTED))
    parser.add_argument("--clips", type=int, default=16, help="of calibration")
    parser.add_argument("--count", type=int, default=100, help="test clips")
    parser.add_argument("--steps", type=int, default=300, help="of fine-tuning; 0 for none")
    parser.add_argument("--data-root")
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {arguments.clips} clips, seed 0\n")
    columns = [
        "model",
        "budget",
        "kept",
        "MACs",
        "time",
        "MSE before",
        "MSE",
        "aim reached",
        f"{arguments.steps} steps",
        "s",
    ]
    print_row(*columns)
    print_row(*["---"] * len(columns))
    for name in arguments.models:
        rows(name, arguments)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
