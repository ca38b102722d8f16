"""Recipes by name: `paper` as published, `small` for one CPU or a small GPU, `demo` for a few minutes."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from zoo.errors import ZooError, nearest
from zoo.registry import find_model
from zoo.settings import Data, Rate, Recipe, Sampling, Training


def _paper(model: str, options: dict[str, Any]) -> Recipe:
    """As published: Conv-TT-LSTM's setting, and PredRNN++'s for the models of that paper."""
    if find_model(model).paper.startswith("PredRNN"):
        return _predrnn_paper(model, options)
    return _conv_tt_lstm_paper(model, options)


def _predrnn_paper(model: str, options: dict[str, Any]) -> Recipe:
    """PredRNN++, section 5.1: Adam at 1e-3, batch 8, L1 + L2, 80,000 iterations, sampling to zero over 50,000."""
    return Recipe(
        model,
        options,
        sampling=Sampling(rule="linear", start=0, stop=50_000),
        rate=Rate(rule="constant", base=1e-3),
        training=Training(steps=80_000, batch=8, clip=0.0),
    )


def _conv_tt_lstm_paper(model: str, options: dict[str, Any]) -> Recipe:
    """Conv-TT-LSTM, section 5 and appendix: batch 16, L1 + L2, 500 epochs at most, 1e-4 for 5×5 and 1e-3 for 3×3."""
    base = 1e-3 if options.get("kernel", 5) == 3 else 1e-4
    return Recipe(model, options, rate=Rate(base=base), training=Training(steps=500 * 625, batch=16))


def _small(model: str, options: dict[str, Any]) -> Recipe:
    """Four layers on patches of 4×4 pixels, fresh clips, free-running from half-way on: an hour or so on one core."""
    # rank: a quarter of the channels, as the paper's 8 of 32
    network = _known(model, hidden=[64, 64, 64, 64], layers=[1, 1, 1, 1], kernel=3, patch=4, rank=16)
    steps = 4000
    return Recipe(
        model,
        network | options,
        data=Data(endless=True),
        sampling=Sampling(rule="linear", start=0, stop=steps // 2),
        rate=Rate(rule="cosine", base=1e-3, warmup=50),
        training=Training(
            steps=steps, batch=8, l1=0.0, validate_every=500, validation_clips=256, precision="bf16-mixed"
        ),
    )


def _demo(model: str, options: dict[str, Any]) -> Recipe:
    """One digit on a canvas of 40×40 pixels: a minute or two on two cores."""
    network = _known(model, hidden=[32, 32], layers=[1, 1], kernel=3, patch=4)
    steps = 600
    return Recipe(
        model,
        network | options,
        data=Data(digits=1, canvas=40, endless=True),
        sampling=Sampling(rule="linear", start=0, stop=steps // 2),
        rate=Rate(rule="cosine", base=5e-3, warmup=20),
        training=Training(steps=steps, batch=8, l1=0.0, validate_every=100, validation_clips=64),
    )


def _known(model: str, **options: Any) -> dict[str, Any]:
    """Those of the options that the model has."""
    known = inspect.signature(find_model(model).make).parameters
    return {name: value for name, value in options.items() if name in known}


PRESETS: dict[str, Callable[[str, dict[str, Any]], Recipe]] = {"paper": _paper, "small": _small, "demo": _demo}


def recipe(
    model: str, preset: str = "small", options: Mapping[str, Any] | None = None, **changes: Mapping[str, Any]
) -> Recipe:
    """The recipe of a preset, with changes.

    Args:
        model: a registered name.
        preset: "paper", "small" or "demo".
        options: of the model, over the preset's.
        changes: by part of the recipe: `data`, `sampling`, `rate`, `training`, each a mapping.

    Raises:
        ZooError: unknown model, preset, part or setting.

    >>> recipe("conv-tt-lstm-sw", "paper", training={"seed": 1}).rate.base
    0.0001
    """
    find_model(model)
    if preset not in PRESETS:
        raise ZooError(f"no preset {preset!r}; {nearest(preset, PRESETS)}")
    made = PRESETS[preset](model, dict(options or {}))
    for part, settings in changes.items():
        made = replace(made, **{part: change(part, getattr(made, part, None), settings)})
    return made


def change(part: str, settings: Any, changes: Mapping[str, Any]) -> Any:
    """A part of a recipe with some settings replaced.

    Raises:
        ZooError: no such part or setting.
    """
    if not is_dataclass(settings):
        raise ZooError(f"no part {part!r} of a recipe; known: data, rate, sampling, training")
    known = [field.name for field in fields(settings)]
    for name in changes:
        if name not in known:
            raise ZooError(f"no setting {name!r} in {part}; {nearest(name, known)}")
    return replace(settings, **changes)  # type: ignore[type-var]
