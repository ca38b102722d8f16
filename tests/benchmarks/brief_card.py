"""The card of weights that were trained by the preset `brief`."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from zoo.evaluation import Scores
from zoo.registry import find_model
from zoo.settings import Recipe

WEIGHTS = "moving-mnist-brief"
COMMAND = "python -m tests.benchmarks.brief"
CARD_METRICS = ("mse", "mae", "psnr", "ssim")


@dataclass(frozen=True)
class Measured:
    """What was measured of one network.

    Args:
        recipe: the settings of its training.
        parameters: its number of parameters.
        minutes: processor time of one thread for the 1,200 steps, in minutes.
        step: the training step at which the weights were saved.
        ships: whether the weights are in the package, rounded to float16.
        digits: scores on clips of two test digits, 10 → 10.
        embedded: scores on clips of two digits that the package contains, 10 → 10.
        longer: scores on clips of two test digits, 10 → 30.
        three: scores on clips of three test digits, 10 → 10.
    """

    recipe: Recipe
    parameters: int
    minutes: float
    step: int
    ships: bool
    digits: Scores
    embedded: Scores
    longer: Scores
    three: Scores

    @property
    def scores(self) -> tuple[Scores, ...]:
        """All scores, in the order of the card's table."""
        return self.digits, self.embedded, self.longer, self.three


def card(measured: Measured, machine: str) -> str:
    """The card in Markdown. It begins with metadata in YAML.

    Args:
        measured: the measurements of the network.
        machine: the machine on which the network was measured.
    """
    recipe, name = measured.recipe, measured.recipe.model
    metadata: dict[str, Any] = {"library_name": "tensortrain", "tags": ["tensortrain", "zoo", name]}
    results = [_result(scores) for scores in measured.scores]
    metadata["model-index"] = [{"name": f"{name}.{WEIGHTS}", "results": results}]
    options = ", ".join(f"{option} = {value}" for option, value in recipe.options.items())
    changed = "".join(f" --training.{key} {value:g}" for key, value in find_model(name).presets.digits.items())
    train = f"zoo train {name} moving-mnist --preset brief{changed} -o runs/{name}"
    paragraphs = [
        _what(measured, train),
        "**Data.** 9,600 clips of 20 frames of Moving-MNIST with two digits, generated during training from the first "
        "50,000 training digits of MNIST. Validation uses the last 10,000 training digits. These and the test digits "
        "were not used in training.",
        f"**Settings.** `{train}`, seed {recipe.training.seed}. Options {options}. 1,200 steps of 8 clips, "
        f"{'cross-entropy' if recipe.training.cross_entropy else 'mean squared error'} over all predictions, "
        f"{_sampling(recipe)}. All {'other ' if changed else ''}settings are those of the preset `brief`. "
        "This is a short run that compares models at equal small budgets. The network is not meant for use.",
        f"**Hardware and time.** {machine}: {measured.minutes:.0f} minutes of one thread, from timed steps. Weights of "
        f"step {measured.step:,}, the best of six validations.",
        "**Metrics** by the standard convention (predictions clamped to [0, 1]; MSE and MAE mean per pixel; SSIM with "
        "an 11-pixel Gaussian window), in single precision:",
    ]
    rounding = "with the weights of this package, rounded to float16" if measured.ships else "before any rounding"
    last = (
        "On two MNIST digits, 10 → 10, the squared error summed over a frame is "
        f"{per_frame(measured.digits):.1f}. Measured by `{COMMAND}`, {rounding}."
    )
    text = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)
    parts = [f"# {name}, `{WEIGHTS}`", *map(_filled, paragraphs), "\n".join(_table(measured.scores)), _filled(last)]
    return f"---\n{text}---\n" + "\n\n".join(parts) + "\n"


def _filled(paragraph: str) -> str:
    """A paragraph, broken into lines of at most 140 characters."""
    return textwrap.fill(paragraph, 140, break_long_words=False, break_on_hyphens=False)


def per_frame(scores: Scores) -> float:
    """The squared error summed over a frame of 64×64 pixels."""
    return 64 * 64 * scores.average["mse"]


def _what(measured: Measured, train: str) -> str:
    """The size of the network, and how to get the weights: from the package, or by training."""
    size = f"{measured.parameters:,} parameters, for clips of 64×64 pixels, grey, in [0, 1]."
    if measured.ships:
        return f'`zoo.create_model("{measured.recipe.model}", pretrained="{WEIGHTS}")`: {size}'
    return (
        f"{size} The package does not contain these weights, to stay small. Train them again by `{train}`, and open "
        "them by `zoo.open_run`."
    )


def _sampling(recipe: Recipe) -> str:
    if recipe.sampling.schedule == "none":
        return "without scheduled sampling, since the model reads no frames while it predicts"
    return "fraction of true frames in scheduled sampling falling from 1 to 0 over the first half"


def _result(scores: Scores) -> dict[str, Any]:
    task = f"{scores.observed} → {scores.horizon}"
    metrics = [
        {"type": key, "value": float(f"{scores.average[key]:.5g}"), "name": key.upper(), "config": "average"}
        for key in CARD_METRICS
    ]
    return {
        "task": {"type": "video-prediction", "name": f"{task} steps"},
        "dataset": {
            "type": _kind(scores),
            "name": _digits(scores),
            "config": f"{_digits(scores)}, {task}, {scores.clips} clips, {scores.convention.name}",
            "split": "test",
        },
        "metrics": metrics,
    }


def _digits(scores: Scores) -> str:
    return "embedded test digits" if "embedded" in scores.data else "MNIST test digits"


def _kind(scores: Scores) -> str:
    """The name of the data set, moving-mnist-2 or moving-mnist-3, without the remark on its digits."""
    return scores.comparable_with.partition(",")[0]


def _table(rows: Sequence[Scores]) -> list[str]:
    lines = ["| digits | clips | MSE ×10⁻³ | MAE ×10⁻³ | PSNR dB | SSIM |", "|---|---|---|---|---|---|"]
    for scores in rows:
        mean = scores.average
        numbers = (f"{1e3 * mean['mse']:.5g}", f"{1e3 * mean['mae']:.5g}", f"{mean['psnr']:.5g}", f"{mean['ssim']:.5g}")
        count = _kind(scores).removeprefix("moving-mnist-")
        clips = f"{_digits(scores)}, {count} in a clip, {scores.observed} → {scores.horizon}"
        lines.append(f"| {clips} | {scores.clips} | {' | '.join(numbers)} |")
    return lines
