"""The settings of a training run as dataclasses, and their conversion to and from plain data.

A `Recipe` holds all of them. It is read from YAML or the command line and written beside every run. Steps are optimiser
steps; an epoch is `clips_per_epoch` training clips. Each kind of data set and each schedule has a class of its own, so
that a recipe has only settings that mean something in its run.

>>> recipe = Recipe("conv-lstm", data=KTHData(size=64), sampling=LinearSampling(stop=1000))
>>> from_plain(to_plain(recipe), "here") == recipe
True
"""

import dataclasses
import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args, get_type_hints

from zoo.errors import ZooError, nearest
from zoo.schema import one_of, validate

if TYPE_CHECKING:
    from pydantic import ConfigDict, TypeAdapter

DATA_SETS = ("moving-mnist", "kth", "videos:DIR")
VALIDATION_PERSONS = (15, 16)  # of KTH
Windows = Literal["predrnn", "mcnet", "conv-tt-lstm"]


class Settings:
    """What settings classes have in common: a file must give their values the very types, and no other names."""

    __pydantic_config__: ClassVar["ConfigDict"] = {"strict": True, "extra": "forbid"}


@dataclass(frozen=True)
class Clips(Settings):
    """Settings of every data set; `MovingMNISTData`, `KTHData` and `VideosData` add their own.

    Args:
        name: "moving-mnist", "kth", or "videos:DIR".
        size: height and width of a frame, in pixels.
        observed: frames that the model sees, T_in.
        length: frames of a training clip, observed ones included.
        clips_per_epoch: training clips in an epoch.
        endless: draw new clips in every epoch instead of the same ones again.
        seed: of the training clips.

    Raises:
        ZooError: no such data set, or the name of one that another class is for.
    """

    name: str
    size: int = 64
    observed: int = 10
    length: int = 20
    clips_per_epoch: int = 10_000
    endless: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if data_class(self.name) is not type(self):
            expected = data_class(self.name).__name__
            raise ZooError(f"data.name = {self.name!r} needs the settings {expected}, not {type(self).__name__}")

    @property
    def kind(self) -> str:
        """The kind of data set: "moving-mnist", "kth" or "videos"."""
        return kind_of(self.name)


@dataclass(frozen=True)
class MovingMNISTData(Clips):
    """Moving-MNIST: grey clips of drifting digits.

    Args:
        name: "moving-mnist".
        digits: moving digits in a clip.
        source: of the handwritten digits: "mnist"; "embedded" for those that scikit-learn ships; or "auto" for MNIST if
            the data root has it, else the embedded ones.
    """

    name: str = "moving-mnist"
    digits: int = 2
    source: Literal["auto", "mnist", "embedded"] = "auto"

    @property
    def channels(self) -> int:
        """1: the frames are grey."""
        return 1


@dataclass(frozen=True)
class KTHData(Clips):
    """KTH actions: grey clips of people.

    Args:
        name: "kth".
        size: height and width of a frame, in pixels.
        windows: the published way in which validation and test clips are cut, see `zoo.data.kth_windows`.
        validation_persons: persons out of 1–16 to validate on; they are held out of training.
        store: digest of the decoded videos. Set by `fit`; a resumed run refuses different data.
    """

    name: str = "kth"
    size: int = 128
    windows: Windows = "predrnn"
    validation_persons: list[int] = field(default_factory=lambda: [*VALIDATION_PERSONS])
    store: str = ""

    @property
    def channels(self) -> int:
        """1: the frames are grey."""
        return 1


@dataclass(frozen=True)
class VideosData(Clips):
    """A folder of videos.

    Args:
        name: "videos:DIR" for the videos in the folder DIR.
        channels: 1 for grey, 3 for RGB; equal to the model's.
        store: digest of the decoded videos. Set by `fit`; a resumed run refuses different data.
    """

    channels: Literal[1, 3] = 1
    store: str = ""


Data = MovingMNISTData | KTHData | VideosData
_DATA_CLASSES: dict[str, type[Data]] = {"moving-mnist": MovingMNISTData, "kth": KTHData, "videos": VideosData}


def kind_of(name: str) -> str:
    """The kind of a data set: "moving-mnist", "kth" or "videos".

    Raises:
        ZooError: no such data set.

    >>> kind_of("videos:films")
    'videos'
    """
    kind, _, folder = name.partition(":")
    if name not in DATA_SETS[:2] and not (kind == "videos" and folder):
        raise ZooError(f"no data set {name!r}; {nearest(name, DATA_SETS)}")
    return kind


def data_class(name: str) -> type[Data]:
    """The settings class of a data set.

    Raises:
        ZooError: no such data set.

    >>> data_class("videos:films").__name__
    'VideosData'
    """
    return _DATA_CLASSES[kind_of(name)]


@dataclass(frozen=True)
class PlateauSampling(Settings):
    """Training reads true frames until the validation loss stops improving, then ever fewer of them (Conv-TT-LSTM).

    Args:
        schedule: "plateau". The others, with settings of their own, are "linear" and "reverse".
        patience: epochs without improvement before the probability of the true frame begins to fall.
        decay: how much it falls in each epoch. The paper prints 2e-4 for Moving-MNIST, with which the fall would take
            5000 epochs; its authors' code uses 2e-3 to 4e-3.
    """

    schedule: Literal["plateau"] = "plateau"
    patience: int = 20
    decay: float = 2e-3


@dataclass(frozen=True)
class LinearSampling(Settings):
    """The probability that training reads the true frame falls from 1 to 0 along a straight line (PredRNN++).

    Args:
        schedule: "linear". The others, with settings of their own, are "plateau" and "reverse".
        start: the step at which it begins to fall.
        stop: the step from which it is 0.
    """

    schedule: Literal["linear"] = "linear"
    start: int = 0
    stop: int = 50_000


@dataclass(frozen=True)
class ReverseSampling(Settings):
    """Observed frames are hidden too, half of them at first and none from `stop` on (PredRNN, 2022).

    Args:
        schedule: "reverse". The others, with settings of their own, are "plateau" and "linear".
        start: the step at which the probabilities begin to move from one half.
        stop: the step from which all observed frames are true and all others are the model's own.
    """

    schedule: Literal["reverse"] = "reverse"
    start: int = 0
    stop: int = 50_000


Sampling = PlateauSampling | LinearSampling | ReverseSampling


@dataclass(frozen=True)
class PlateauRate(Settings):
    """The learning rate is constant, and decays once the validation loss has stopped improving twice (Conv-TT-LSTM).

    The first time scheduled sampling begins to fall; only then does the wait for the second time begin.

    Args:
        schedule: "plateau". The others, with settings of their own, are "constant" and "cosine".
        base: the learning rate to begin with.
        patience: epochs without improvement in that second wait.
        factor: what each decay multiplies the rate by.
        every: epochs between decays.
    """

    schedule: Literal["plateau"] = "plateau"
    base: float = 1e-4
    patience: int = 20
    factor: float = 0.98
    every: int = 5


@dataclass(frozen=True)
class ConstantRate(Settings):
    """The learning rate is the same throughout.

    Args:
        schedule: "constant". The others, with settings of their own, are "plateau" and "cosine".
        base: the learning rate.
    """

    schedule: Literal["constant"] = "constant"
    base: float = 1e-3


@dataclass(frozen=True)
class CosineRate(Settings):
    """The learning rate rises linearly, then falls to zero at the last step along half a cosine.

    Args:
        schedule: "cosine". The others, with settings of their own, are "plateau" and "constant".
        base: the highest learning rate.
        warmup: steps of the rise.
    """

    schedule: Literal["cosine"] = "cosine"
    base: float = 1e-3
    warmup: int = 0


LearningRate = PlateauRate | ConstantRate | CosineRate


@dataclass(frozen=True)
class Training(Settings):
    """How the weights are trained, and on what machine.

    Args:
        steps: optimiser steps of the whole run.
        batch_size: clips in a step, over all processes; divisible by their number.
        seed: of weights, batches and sampling draws.
        l1: weight of the mean absolute error in the loss.
        l2: weight of the mean squared error in the loss.
        clip_norm: largest global norm of the gradient; larger ones are scaled down to it. 0 for no limit.
        validate_every: steps between validations; 0 for once an epoch.
        validation_clips: clips of the validation split to measure each time; 0 for all.
        save_every: steps between checkpoints that are kept besides the best and the last; 0 for none.
        log_every: steps between rows of metrics.csv. Each also synchronises the device and raises an error if a loss
            was NaN or infinite.
        early_stop: validations without improvement after which training ends; 0 for never.
        max_time: minutes after which training stops and can be resumed; 0 for no limit.
        precision: Lightning's, such as "32-true", "bf16-mixed", "64-true".
        compile: compile each cell's step (`torch.compile`): faster steps after a slow first one.
        recompute: see `RecurrentPredictor.recompute`: less memory, more time.
        accelerator: Lightning's: "auto", "cpu", "gpu".
        devices: processes on each node.
        nodes: machines.
        num_workers: processes that prepare batches; 0 for the training process itself.
    """

    steps: int = 250_000
    batch_size: int = 16
    seed: int = 0
    l1: float = 1.0
    l2: float = 1.0
    clip_norm: float = 1.0
    validate_every: int = 0
    validation_clips: int = 0
    save_every: int = 0
    log_every: int = 50
    early_stop: int = 0
    max_time: float = 0.0
    precision: str = "32-true"
    compile: bool = False
    recompute: bool = False
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = 1
    nodes: int = 1
    num_workers: int = 0


@dataclass(frozen=True)
class Recipe:
    """A whole run.

    Args:
        model: as registered; `zoo models` lists them.
        options: the model's keyword arguments, as for `zoo.create_model(model, **options)`.
        data: the clips; the class says which kind of data set.
        sampling: scheduled sampling, that is, how often training reads true frames instead of the model's own
            predictions; the class says which schedule.
        learning_rate: the class says which schedule.
        training: everything else.
    """

    model: str
    options: dict[str, Any] = field(default_factory=dict)
    data: Data = field(default_factory=MovingMNISTData)
    sampling: Sampling = field(default_factory=PlateauSampling)
    learning_rate: LearningRate = field(default_factory=PlateauRate)
    training: Training = field(default_factory=Training)


def to_plain(recipe: Recipe) -> dict[str, Any]:
    """A recipe as mappings, lists, strings and numbers, which YAML and JSON keep and `from_plain` reads.

    Raises:
        TypeError: an option that is no plain value.
    """
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(recipe)))
    return plain


def from_plain(value: Any, where: str) -> Recipe:
    """The recipe that plain data describe.

    Args:
        value: what was read from YAML, or JSON as text.
        where: the file's name, for error messages.

    Raises:
        ZooError: an unknown or missing setting, or a value of the wrong type.
    """
    try:
        text = value if isinstance(value, str) else json.dumps(value)
    except TypeError as error:
        raise ZooError(f"{where}: a value is neither text nor a number, a list or a mapping: {error}") from None
    settings = validate(_schema(), text, where, noun="setting", known=_known)
    return Recipe(**{name: getattr(settings, name) for name in settings.model_fields_set})


def schedule_class(part: str, schedule: str) -> Any:
    """The settings class of a schedule.

    Args:
        part: "sampling" or "learning_rate".
        schedule: the schedule's name.

    Raises:
        ZooError: no such schedule.

    >>> schedule_class("sampling", "linear")().stop
    50000
    """
    by_name = _by_schedule({"sampling": Sampling, "learning_rate": LearningRate}[part])
    if schedule not in by_name:
        raise ZooError(f"{part}.schedule = {schedule!r} is unknown; {nearest(str(schedule), by_name)}")
    return by_name[schedule]


def _by_schedule(classes: Any) -> dict[str, Any]:
    return {one.schedule: one for one in get_args(classes)}


@functools.cache
def _schema() -> "TypeAdapter[Any]":
    """The schema of a recipe: its classes, with the setting that says which of several classes another one is."""
    from pydantic import ConfigDict, TypeAdapter, create_model

    types = get_type_hints(Recipe) | {
        "data": one_of("name", _DATA_CLASSES, kind_of),
        "sampling": one_of("schedule", _by_schedule(Sampling)),
        "learning_rate": one_of("schedule", _by_schedule(LearningRate)),
    }
    parts: Any = {name: (hint, ... if name == "model" else None) for name, hint in types.items()}
    return TypeAdapter(create_model("Recipe", __config__=ConfigDict(strict=True, extra="forbid"), **parts))


def _known(location: Sequence[Any]) -> list[str]:
    """The settings beside one that does not exist."""
    part, *inside = location
    if len(inside) == 2:  # in one of several classes
        choice = inside[0].strip("<>")
        owner = _DATA_CLASSES[choice] if part == "data" else schedule_class(part, choice)
    else:
        owner = Training if inside else Recipe
    return [each.name for each in dataclasses.fields(owner)]
