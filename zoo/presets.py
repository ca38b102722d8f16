"""Recipes by name: `paper` as published, `small` for one CPU, `brief` to compare models, `demo` for a first try."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from zoo import models as _models  # noqa: F401 - registers the models of the package
from zoo.checks import check_content, check_recipe
from zoo.errors import ZooError, nearest
from zoo.papers import CONV_TT_LSTM
from zoo.registry import Entry, find_model, find_protocol
from zoo.schema import shortened
from zoo.settings import (
    CHOICES,
    AdamOptimizer,
    Content,
    CosineRate,
    Data,
    LinearSampling,
    MovingMNISTData,
    NoSampling,
    OwnData,
    Recipe,
    Training,
    Video,
    data_class,
    kind_of,
    settings_class,
)


def _paper(entry: Entry, options: dict[str, Any], dataset: str) -> Recipe:
    """The published recipe: the settings of the model's paper."""
    if entry.protocol is None:
        raise ZooError(f"no settings are published for {entry.name}; choose the preset small or demo")
    if kind_of(dataset) not in entry.protocol.settings:
        raise ZooError(f"no settings are published for {dataset}; choose the preset small or demo")
    return entry.protocol.settings[kind_of(dataset)].recipe(entry.name, _filmed(entry, dataset) | options)


# Table 3 of the Conv-TT-LSTM paper. It says that a network has four layers and no more. We read this as one layer of
# each block, with the channels and skip connections of the network of twelve layers.
_ABLATIONS: dict[str, Callable[[Recipe], Recipe]] = {
    "paper-four-layers": lambda start: replace(start, options={"layers": [1, 1, 1, 1]} | start.options),
    "paper-l1-alone": lambda start: replace(start, training=replace(start.training, l1=1.0, l2=0.0)),
    "paper-teacher-forcing": lambda start: replace(start, sampling=NoSampling()),
}


def _ablated(name: str, entry: Entry, options: dict[str, Any], dataset: str) -> Recipe:
    """The published recipe with the change of one ablation."""
    if entry.paper is not CONV_TT_LSTM:
        raise ZooError(
            f"the preset {name} is an ablation of the Conv-TT-LSTM paper, which does not describe {entry.name}; choose "
            "another preset"
        )
    return _ABLATIONS[name](_paper(entry, options, dataset))


class _Scale(NamedTuple):
    """The size of a short run: steps, clips per batch, clips per validation, height and width of its frames."""

    steps: int
    batch_size: int
    validation_clips: int
    size: int = 0


_OWN = ("videos", "images", "arrays", "python")
_SMALL = {
    "moving-mnist": _Scale(size=64, steps=4000, batch_size=8, validation_clips=256),
    "kth": _Scale(size=128, steps=800, batch_size=4, validation_clips=64),
    "lorenz": _Scale(steps=1000, batch_size=50, validation_clips=500),
    **dict.fromkeys(_OWN, _Scale(size=64, steps=4000, batch_size=8, validation_clips=256)),
}
_DEMO = {
    "moving-mnist": _Scale(size=40, steps=600, batch_size=8, validation_clips=64),
    "kth": _Scale(size=128, steps=120, batch_size=4, validation_clips=16),
    "lorenz": _Scale(steps=500, batch_size=50, validation_clips=200),
    **dict.fromkeys(_OWN, _Scale(size=64, steps=240, batch_size=8, validation_clips=32)),
}


def _small(entry: Entry, options: dict[str, Any], dataset: str) -> Recipe:
    """Newly generated clips; from half-way on, the model reads only its own predictions.

    A video model has four layers on patches of 4×4 pixels and takes about an hour on one core. With KTH's large frames
    there are fewer steps, about twenty minutes. A series model takes about a minute.
    """
    network = {**entry.presets.small, **options}
    start = _short(entry, network, dataset, _SMALL[kind_of(dataset)], validations=8)
    if start.data.content == "series":  # its many small products multiply: bf16-mixed would cost accuracy
        return replace(start, learning_rate=CosineRate(base=1e-2, warmup=50))
    training = replace(start.training, precision="bf16-mixed")
    return replace(start, learning_rate=CosineRate(base=1e-3, warmup=50), training=training)


def _brief(entry: Entry, options: dict[str, Any], dataset: str) -> Recipe:
    """1,200 steps of 8 new clips with two digits, squared error: a quarter of an hour to an hour on one core.

    All settings are written out here and never change, because the table that compares all models uses this preset.
    """
    if kind_of(dataset) != "moving-mnist":
        raise ZooError(f"the preset brief is for moving-mnist, not {dataset}; choose small or demo")
    return Recipe(
        entry.name,
        {**entry.presets.brief, **options},
        data=MovingMNISTData(size=64, observed=10, length=20, clips_per_epoch=10_000, endless=True, seed=0, digits=2),
        sampling=LinearSampling(start=0, stop=600),
        learning_rate=CosineRate(base=1e-3, warmup=50),
        optimizer=AdamOptimizer(beta1=0.9, beta2=0.999),
        training=Training(
            steps=1200,
            batch_size=8,
            seed=0,
            l1=0.0,
            l2=1.0,
            clip_norm=1.0,
            validate_every=200,
            validation_clips=256,
            precision="bf16-mixed",
        ),
    )


def _demo(entry: Entry, options: dict[str, Any], dataset: str) -> Recipe:
    """Two layers; one digit on a canvas of 40×40 pixels for Moving-MNIST: two to three minutes on two cores."""
    start = _short(entry, {**entry.presets.demo, **options}, dataset, _DEMO[kind_of(dataset)], validations=6)
    if isinstance(start.data, MovingMNISTData):
        start = replace(start, data=replace(start.data, digits=1))
    return replace(start, learning_rate=CosineRate(base=1e-2 if start.data.content == "series" else 5e-3, warmup=20))


def _short(entry: Entry, options: dict[str, Any], dataset: str, scale: _Scale, validations: int) -> Recipe:
    """A run on new clips by the squared error, or for digits by the loss that the model declares for them.

    From half-way on, the model reads only its own predictions.
    """
    loss = entry.presets.digits if kind_of(dataset) == "moving-mnist" else {}
    start = Recipe(
        entry.name,
        _filmed(entry, dataset) | options,
        data=_data(dataset, scale.size, options.get("channels", 1)),
        sampling=LinearSampling(start=0, stop=scale.steps // 2),
        training=Training(
            steps=scale.steps,
            batch_size=scale.batch_size,
            l1=0.0,
            validate_every=scale.steps // validations,
            validation_clips=scale.validation_clips,
        ),
    )
    return replace(start, training=change("training", start.training, loss))


def _filmed(entry: Entry, dataset: str) -> dict[str, Any]:
    """The options that the model declares for filmed videos, or none if the data set is Moving-MNIST."""
    return {} if kind_of(dataset) == "moving-mnist" else dict(entry.presets.filmed)


def _data(dataset: str, size: int, channels: Any) -> Data:
    """New clips of a data set, with the model's number of channels where the data allow it. The clips of an array keep
    their size. The clips of a Python program are not endless."""
    settings = data_class(dataset)
    if not issubclass(settings, Video):
        return settings(dataset, endless=True)
    if not issubclass(settings, OwnData):
        return settings(dataset, size=size, endless=True)
    if kind_of(dataset) == "arrays":
        return settings(dataset, endless=True, channels=channels)
    return settings(dataset, size=size, endless=kind_of(dataset) != "python", channels=channels)


DEFAULTS: dict[Content, str] = {"video": "moving-mnist", "series": "lorenz"}  # the default data set
PRESETS: dict[str, Callable[[Entry, dict[str, Any], str], Recipe]] = {
    "paper": _paper,
    "small": _small,
    "brief": _brief,
    "demo": _demo,
    **{name: partial(_ablated, name) for name in _ABLATIONS},
}


def recipe(
    model: str,
    preset: str = "small",
    options: Mapping[str, Any] | None = None,
    dataset: str | None = None,
    protocol: str | None = None,
    **changes: Mapping[str, Any],
) -> Recipe:
    """Make the recipe of a preset, with changes. A recipe holds all settings of a training.

    The preset sets the options that the model declares in its `zoo.PresetOptions`. A model for one fixed frame size
    gets the size of the data. A model that reads no frames while it predicts is trained without scheduled sampling,
    whatever the preset or protocol says.

    Args:
        model: the registered name of a model.
        preset: "paper", "small", "brief", "demo", or an ablation of the Conv-TT-LSTM paper: "paper-four-layers",
            "paper-l1-alone" or "paper-teacher-forcing".
        options: options of the model that replace those of the preset.
        dataset: "moving-mnist", "kth", "lorenz", "videos:DIR" for the videos in the folder DIR, "images:DIR" for
            folders of images, "arrays:FILE" for an array file, or "python" for clips that a program passes to
            `zoo.fit`. The default is "moving-mnist" for video models and "lorenz" for series models.
        protocol: the key of a paper in `zoo.papers.PAPERS`, whose settings replace those of the model's own paper. It
            is legal with the preset "paper" only.
        changes: changed settings by part of the recipe: `data`, `sampling`, `learning_rate`, `optimizer` or
            `training`. Each is a mapping. If it names another `schedule` or `method`, the other settings of this part
            are those of the new one.

    Raises:
        ZooError: if a model, preset, data set, part or setting is unknown; if the preset is "paper" and no settings are
            published; if scheduled sampling is asked for and the model reads no frames while it predicts; or if a value
            has a wrong type or is out of range.

    >>> recipe("conv-lstm").training.steps
    4000
    >>> recipe("predrnn-pp", "paper", dataset="kth").training.steps
    200000
    >>> recipe("conv-tt-lstm-sw", "paper", {"kernel": 3}, training={"seed": 1}).learning_rate.base
    0.001
    """
    entry = find_model(model)
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ZooError(f"no preset {shortened(preset)}; {nearest(str(preset), PRESETS)}")
    if protocol is not None:
        if preset != "paper":
            raise ZooError(f"protocol = {protocol!r} needs the preset paper, not {preset}; leave one of them out")
        entry = replace(entry, protocol=find_protocol(entry.name, protocol))
    if options is not None and not isinstance(options, Mapping):
        raise ZooError(f"options = {shortened(options)} must be a mapping of options, such as {{'kernel': 3}}")
    dataset = DEFAULTS[entry.reads] if dataset is None else dataset
    check_content(entry, dataset)
    start = PRESETS[preset](entry, dict(options or {}), dataset)
    if not entry.feeds_back(start.options):
        start = replace(start, sampling=NoSampling())
    for part, settings in changes.items():
        start = replace(start, **{part: change(part, getattr(start, part, None), settings)})
    if "canvas" in entry.options and "canvas" not in (options or {}) and isinstance(start.data, Video):
        start = check_recipe(start)  # only a legal size has a height and a width
        assert isinstance(start.data, Video)
        start = replace(start, options={**start.options, "canvas": [*start.data.frame]})
    return check_recipe(start)


def change(part: str, settings: Any, changes: Mapping[str, Any]) -> Any:
    """A part of a recipe with some of its settings replaced.

    Raises:
        ZooError: if the part or a setting is unknown.
    """
    if not is_dataclass(settings):
        raise ZooError(f"a recipe has no part {part!r}; known: data, {', '.join(CHOICES)}, training")
    if not isinstance(changes, Mapping):
        raise ZooError(f"{part} = {shortened(changes)} must be a mapping of its settings and their new values")
    if part in CHOICES:
        entry = CHOICES[part][0]
        if changes.get(entry, getattr(settings, entry)) != getattr(settings, entry):
            settings = settings_class(part, str(changes[entry]))()
    known = [field.name for field in fields(settings)]
    for name in changes:
        if name not in known:
            raise ZooError(f"no setting {name!r} in {part}; {nearest(name, known)}")
    return replace(settings, **changes)
