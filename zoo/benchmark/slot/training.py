"""The part that trains: as long as there is time, and from the point where an earlier call stopped."""

import csv
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import zoo
from tensortrain.figures import styled
from zoo.benchmark.slot.sizes import Sizes
from zoo.data import make_dataset
from zoo.files import aside
from zoo.model_files.pretrained import save_weights
from zoo.registry import find_model
from zoo.settings import Recipe
from zoo.training import fit
from zoo.training.run_folder import Run, read_recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODEL = "conv-tt-lstm-sw"
RUN = "run"  # folder of the run inside the folder of the part
RESUMED = (f"{RUN}/config.yaml", f"{RUN}/checkpoints/last.ckpt")  # the files that a later call needs
RATE = 2e-3  # twice the preset's rate; this is cautious for a batch that is thirty times as large
STEPS = 4000  # number of steps if no speed was measured


def make_recipe(sizes: Sizes, speed: tuple[str, float] | None, seconds: float) -> Recipe:
    """The settings of a training that ends when the time is over.

    Args:
        sizes: the sizes of the training.
        speed: the fastest variant of the network's step, and its seconds; None if it was not measured.
        seconds: the time of training in seconds, including later calls.
    """
    variant, each = speed or ("", 0.0)
    measured = max(2, round(0.9 * seconds / each)) if each else STEPS
    steps = sizes.training.get("steps", measured)
    known = find_model(MODEL).options
    return zoo.recipe(
        MODEL,
        "small",
        {name: value for name, value in sizes.options.items() if name in known},
        data={"length": sizes.frames, "observed": sizes.frames // 2},
        sampling={"stop": steps // 2},
        learning_rate={"base": RATE, "warmup": steps // 20},
        training={
            "batch_size": sizes.small,
            "compile": "compiled" in variant,
            "accelerator": "cpu" if sizes.device == "cpu" else "gpu",
            **sizes.training,
            "steps": steps,
        },
    )


def train(
    folder: Path,
    end: float,
    sizes: Sizes,
    root: Path | None,
    speed: Callable[[], tuple[str, float] | None],
    later: float,
) -> None:
    """Train a network, or resume a run in the folder; then write the results.

    Args:
        folder: the folder for the run, the weights in 16 bits, curves, samples and scores.
        end: the value of `time.monotonic` at which this process is ended.
        sizes: the sizes of the training.
        root: the data root.
        speed: a function that returns the fastest variant of the network's step and its seconds.
        later: seconds of training that later calls will add, for which the schedules leave time.
    """
    run = folder / RUN
    seconds = max(1.0, end - time.monotonic() - sizes.closing)
    recipe = read_recipe(run / "config.yaml") if run.exists() else make_recipe(sizes, speed(), seconds + later)
    training = replace(recipe.training, max_time=seconds / 60)
    trained = fit(replace(recipe, training=training), run, root=root)
    for write in (write_weights, write_curves, write_samples, write_scores):
        write(trained, folder, sizes, root)


def write_weights(trained: Run, folder: Path, sizes: Sizes, root: Path | None) -> None:
    """Write the best weights in 16 bits."""
    half = zoo.create_model(trained.recipe.model, **trained.recipe.options)
    half.load_state_dict(trained.model.state_dict())
    save_weights(folder / "weights.safetensors", half.half(), trained.recipe)


def write_curves(trained: Run, folder: Path, sizes: Sizes, root: Path | None) -> None:
    """Write a picture of the loss and the validation error over the steps."""
    with aside(folder / "curves.png") as temporary:
        curves(trained.folder).savefig(temporary, format="png", dpi=110)


@styled
def curves(run: Path) -> "Figure":
    """Draw the loss, the validation loss and the validation's squared error of a run."""
    from matplotlib.figure import Figure

    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axes, names in zip(figure.subplots(1, 2), (("loss", "validation_loss"), ("validation_mse",)), strict=True):
        for name in names:
            points = [(int(row["step"]), float(row[name])) for row in rows if row[name]]
            axes.plot([step for step, _ in points], [value for _, value in points], label=name.replace("_", " "))
        axes.set(xlabel="step", yscale="log")
        axes.legend()
    return figure


def write_samples(trained: Run, folder: Path, sizes: Sizes, root: Path | None) -> None:
    """Write pictures of the predictions of a few test clips."""
    from zoo.evaluation import predict

    data = trained.recipe.data
    clips = make_dataset(data, "test", root).clips(range(min(3, sizes.samples)))
    for number, clip in enumerate(clips):
        prediction = predict({MODEL: trained.model}, clip, data.length - data.observed, data.observed)
        prediction.save(folder / f"sample-{number}.png")


def write_scores(trained: Run, folder: Path, sizes: Sizes, root: Path | None) -> None:
    """Evaluate on Moving-MNIST, write the scores, and print them with the description of the clips."""
    from zoo.evaluation import evaluate

    data = trained.recipe.data
    scores = evaluate(
        trained.model,
        make_dataset(data, "test", root),
        data.length - data.observed,
        observed=data.observed,
        metrics=["mse", "mae", "psnr", "ssim"],
        count=sizes.samples,
        batch=min(64, sizes.samples),
        name=MODEL,
        device=sizes.device,
    )
    scores.save(folder / "scores.json")
    print(scores.average, scores.footnotes(), flush=True)
