"""The zoo's trained video models, made smaller: squared error, multiplications, time; without and with training."""

import argparse
import copy
import time
from pathlib import Path

import torch

from tests.benchmarks.tables import Table
from zoo.data import make_dataset
from zoo.evaluation import evaluate
from zoo.model_files.compressed import compress_model
from zoo.model_files.pretrained import load_pretrained
from zoo.predictors.video_model import VideoModel
from zoo.settings import Recipe

MODELS = {
    "conv-lstm": "moving-mnist-small",
    "conv-tt-lstm-sw": "moving-mnist-small",
    "predrnn-pp": "moving-mnist-brief",
}
WANTED = {0.5: 1.02, 0.25: 1.10}  # squared error relative to that of the original
RATE, BATCH, WARM_UP = 1e-4, 4, 30  # of the fine-tuning: learning rate, clips a step, steps until the full rate


def squared_error(model: VideoModel, recipe: Recipe, arguments: argparse.Namespace) -> float:
    """Mean squared error per pixel of ten predicted frames on the first test clips."""
    observed = recipe.data.observed
    dataset = make_dataset(recipe.data, "test", arguments.root, observed + 10)
    scores = evaluate(model, dataset, 10, observed=observed, metrics=["mse"], count=arguments.count)
    return scores.average["mse"]


def tuned(model: VideoModel, recipe: Recipe, steps: int, root: Path) -> VideoModel:
    """The model after some steps on training clips that the calibration has not seen."""
    model = copy.deepcopy(model).train()
    dataset, observed = make_dataset(recipe.data, "train", root), recipe.data.observed
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min((step + 1) / WARM_UP, 1 - step / steps)
        clips = dataset.clips(range(1000 + BATCH * step, 1000 + BATCH * (step + 1)))
        predictions = model(clips[:, :observed], clips.shape[1] - observed)
        loss = model.loss(predictions, clips, recipe.training.l1, recipe.training.l2)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


def rows(name: str, table: Table, arguments: argparse.Namespace) -> None:
    """One model to all budgets."""
    model, recipe = load_pretrained(name, MODELS[name])
    before = squared_error(model, recipe, arguments)
    clips = make_dataset(recipe.data, "train", arguments.root).clips(range(arguments.clips))
    for budget in arguments.budgets:
        start = time.process_time()
        result = compress_model(model, recipe, clips, parameters=budget, progress=False)
        seconds, report = time.process_time() - start, result.report
        assert report.macs is not None
        assert report.milliseconds is not None
        small: VideoModel = result.model  # type: ignore[assignment]
        error = squared_error(small, recipe, arguments) / before
        cells = [f"{report.parameters[1] / report.parameters[0]:.1%}", f"{report.macs[1] / report.macs[0]:.1%}"]
        cells += [f"{report.milliseconds[1][1] / report.milliseconds[0][1]:.2f}", f"{1000 * before:.2f}"]
        cells += [f"{error - 1:+.1%}", f"≤ {WANTED[budget] - 1:.0%}", "yes" if error <= WANTED[budget] else "NO"]
        after = "–"
        if arguments.steps:
            trained = tuned(small, recipe, arguments.steps, arguments.root)
            change = squared_error(trained, recipe, arguments) / before - 1
            after = f"{change:+.1%}, {arguments.steps} steps"
        table.add(name, f"{budget:.0%}", *cells, after, f"{seconds:.0f}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which models, how many clips and steps."""
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="of the part `video`")
    parser.add_argument("--budgets", nargs="+", type=float, choices=WANTED, default=list(WANTED), help="likewise")
    parser.add_argument("--clips", type=int, default=16, help="of calibration, of the part `video`")
    parser.add_argument("--count", type=int, default=100, help="test clips, of the part `video`")
    parser.add_argument("--steps", type=int, default=300, help="of training, of the part `video`; 0 for none")


def options(arguments: argparse.Namespace) -> list[object]:
    """How to measure these rows again."""
    rows = ["--models", *arguments.models, "--budgets", *arguments.budgets]
    return [*rows, "--clips", arguments.clips, "--count", arguments.count, "--steps", arguments.steps]


def describe(arguments: argparse.Namespace) -> str:
    """What the table holds."""
    return (
        f"MSE ×10⁻³ of ten frames predicted from ten, on {arguments.count} test clips; {arguments.clips} calibration"
        f" clips, seed 0; trained by Adam on {BATCH} clips a step, rate {RATE:g} after {WARM_UP} steps"
    )


def table(arguments: argparse.Namespace) -> Table:
    """Models to all budgets."""
    result = Table(
        "model", "budget", "kept", "MACs", "time", "MSE", "change of MSE", "aim", "met", "after training", "s"
    )
    for name in arguments.models:
        rows(name, result, arguments)
    return result
