"""The settings of a run, typed: what a `Recipe` is made of, and how it is read from and written to plain data.

A `Recipe` is plain data, read from YAML or the command line and written beside every run. Steps are optimiser steps;
an epoch is `clips_per_epoch` training clips. Where there is a choice of data set or of schedule, each has a class of
its own, so that a recipe holds only the settings that mean something in its run.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from zoo.errors import ZooError, nearest

DATA_SETS = ("moving-mnist", "kth", "videos:DIR")
VALIDATION_PERSONS = (15, 16)  # of KTH
Windows = Literal["predrnn", "mcnet", "conv-tt-lstm"]


@dataclass(frozen=True)
class Clips:
    """What every data set has: the size of its frames and how many clips of how many frames are drawn from it.

    Args:
        name: the data set.
        size: height and width of a frame, in pixels.
        observed: frames the model sees, T_in.
        length: frames of a training clip, observed ones included.
        clips_per_epoch: training clips in an epoch.
        endless: draw fresh clips for ever instead of the same ones in every epoch.
        seed: of the training clips that are drawn.

    Raises:
        ZooError: no such data set.
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
        """The data set without its folder: "moving-mnist", "kth" or "videos"."""
        return kind_of(self.name)


@dataclass(frozen=True)
class MovingMNISTData(Clips):
    """Moving-MNIST: grey clips of drifting digits.

    Args:
        name: "moving-mnist".
        digits: moving digits in a clip.
        source: which handwritten digits: "mnist"; the "embedded" ones that ship with scikit-learn; or "auto", MNIST
            where the data root has it, else the embedded ones.
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
        windows: which windows of the original clips are validated and tested on, see `zoo.data.kth_windows`.
        validation_persons: the persons, out of 1–16, to validate on instead of training on them.
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
    """Videos of one's own.

    Args:
        name: "videos:DIR" for the videos in the folder DIR.
        channels: 1 for grey, 3 for RGB; equal to the model's.
        store: digest of the decoded videos. Set by `fit`; a resumed run refuses different data.
    """

    channels: Literal[1, 3] = 1
    store: str = ""


Data = MovingMNISTData | KTHData | VideosData


def kind_of(name: str) -> str:
    """The kind of a data set: "moving-mnist", "kth" or "videos".

    Raises:
        ZooError: no such data set.
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
    return {"moving-mnist": MovingMNISTData, "kth": KTHData, "videos": VideosData}[kind_of(name)]


@dataclass(frozen=True)
class PlateauSampling:
    """Every frame is the true one until the validation loss stops improving, then ever fewer are (Conv-TT-LSTM).

    Args:
        schedule: "plateau".
        patience: epochs without improvement before the probability of the true frame begins to fall.
        decay: its fall in each epoch. The paper prints 2e-4 for Moving-MNIST, which would take 5000 epochs; its
            authors' code uses 2e-3 to 4e-3.
    """

    schedule: Literal["plateau"] = "plateau"
    patience: int = 20
    decay: float = 2e-3


@dataclass(frozen=True)
class LinearSampling:
    """The probability of the true frame falls from 1 to 0 along a straight line (PredRNN++).

    Args:
        schedule: "linear".
        start: first step of the fall.
        stop: last step of the fall.
    """

    schedule: Literal["linear"] = "linear"
    start: int = 0
    stop: int = 50_000


@dataclass(frozen=True)
class ReverseSampling:
    """Observed frames are hidden too, half of them at first and none from `stop` on (PredRNN, 2022).

    Args:
        schedule: "reverse".
        start: the step at which the probabilities begin to move from one half.
        stop: the step from which all observed frames are true and all others are the model's own.
    """

    schedule: Literal["reverse"] = "reverse"
    start: int = 0
    stop: int = 50_000


Sampling = PlateauSampling | LinearSampling | ReverseSampling


@dataclass(frozen=True)
class PlateauRate:
    """The learning rate is held, and decays once the validation loss has stopped improving twice (Conv-TT-LSTM).

    The second wait begins when scheduled sampling has begun to fall.

    Args:
        schedule: "plateau".
        base: the learning rate to begin with.
        patience: epochs without improvement in the second wait.
        factor: what each decay multiplies the rate by.
        every: epochs between decays.
    """

    schedule: Literal["plateau"] = "plateau"
    base: float = 1e-4
    patience: int = 20
    factor: float = 0.98
    every: int = 5


@dataclass(frozen=True)
class ConstantRate:
    """The learning rate is the same throughout.

    Args:
        schedule: "constant".
        base: the learning rate.
    """

    schedule: Literal["constant"] = "constant"
    base: float = 1e-3


@dataclass(frozen=True)
class CosineRate:
    """The learning rate rises linearly, then falls to zero at the last step along half a cosine.

    Args:
        schedule: "cosine".
        base: the highest learning rate.
        warmup: steps of the rise.
    """

    schedule: Literal["cosine"] = "cosine"
    base: float = 1e-3
    warmup: int = 0


LearningRate = PlateauRate | ConstantRate | CosineRate


@dataclass(frozen=True)
class Training:
    """How the weights are trained, and on which machine.

    Args:
        steps: optimiser steps of the whole run.
        batch_size: clips in a step over all processes; divisible by their number.
        seed: of weights, batches and sampling draws.
        l1: weight of the mean absolute error in the loss.
        l2: weight of the mean squared error in the loss.
        clip_norm: largest global norm of the gradient; larger ones are scaled down to it. 0 for no limit.
        validate_every: steps between validations; 0 for once an epoch.
        validation_clips: clips of the validation split to measure; 0 for all.
        save_every: steps between the checkpoints kept besides the best and the last; 0 for none.
        log_every: steps between rows of metrics.csv. Each also synchronises the device and raises an error if a loss
            was NaN or infinite.
        early_stop: validations without improvement after which training ends; 0 for never.
        max_time: minutes after which training stops, resumable; 0 for no limit.
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
    """A whole run: `options` are the keyword arguments of `zoo.create_model(model, …)`."""

    model: str
    options: dict[str, Any] = field(default_factory=dict)
    data: Data = field(default_factory=MovingMNISTData)
    sampling: Sampling = field(default_factory=PlateauSampling)
    learning_rate: LearningRate = field(default_factory=PlateauRate)
    training: Training = field(default_factory=Training)


def to_plain(recipe: Recipe) -> dict[str, Any]:
    """A recipe as it would come back from a file: mappings, lists, strings and numbers."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(recipe)))
    return plain


def from_plain(value: Any, where: str) -> Recipe:
    """A recipe read from a file named `where`.

    Raises:
        ZooError: an unknown or missing setting, or a value of the wrong type.
    """
    recipe: Recipe = _parse(Recipe, value, where)
    return recipe


def schedule_class(part: str, schedule: str) -> Any:
    """The settings class of a schedule, `part` being "sampling" or "learning_rate".

    Raises:
        ZooError: no such schedule.

    >>> schedule_class("sampling", "linear")().stop
    50000
    """
    classes = {"sampling": Sampling, "learning_rate": LearningRate}[part]
    by_name = {kind.schedule: kind for kind in get_args(classes)}
    if schedule not in by_name:
        raise ZooError(f"{part}.schedule = {schedule!r} is unknown; {nearest(str(schedule), by_name)}")
    return by_name[schedule]


def _class_of(hint: Any, value: Mapping[str, Any], where: str) -> Any:
    """Which class of a union of settings classes a mapping is for: the one that its name or its schedule says."""
    part = {Data: "data", Sampling: "sampling", LearningRate: "learning_rate"}[hint]
    discriminator = "name" if part == "data" else "schedule"
    if discriminator not in value:
        raise ZooError(f"{where}: the setting {discriminator!r} is missing")
    choose = data_class if part == "data" else lambda schedule: schedule_class(part, schedule)
    return choose(str(value[discriminator]))


def _parse(hint: Any, value: Any, where: str) -> Any:
    """`value` as a `hint`: a settings class, a union of them, or the type of a field."""
    if dataclasses.is_dataclass(hint) or get_origin(hint) in (Union, UnionType):
        if not isinstance(value, dict):
            raise ZooError(f"{where}: settings are needed, got {value!r}")
        kind = hint if dataclasses.is_dataclass(hint) else _class_of(hint, value, where)
        return _parse_settings(kind, value, where)
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ZooError(f"{where} = {value!r} must be one of {', '.join(map(repr, get_args(hint)))}")
        return value
    plain_type = get_origin(hint) or hint
    if plain_type is float and type(value) is int:
        return float(value)
    if type(value) is not plain_type:
        raise ZooError(f"{where} = {value!r} must be {plain_type.__name__}")
    if get_args(hint) and plain_type is list:
        return [_parse(get_args(hint)[0], item, f"{where}[{i}]") for i, item in enumerate(value)]
    return value


def _parse_settings(kind: Any, value: Mapping[str, Any], where: str) -> Any:
    """A mapping as the settings class `kind`."""
    hints = get_type_hints(kind)
    for name in value:
        if name not in hints:
            raise ZooError(f"{where}: no setting {name!r}; {nearest(str(name), hints)}")
    for each in dataclasses.fields(kind):
        needed = each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
        if needed and each.name not in value:
            raise ZooError(f"{where}: the setting {each.name!r} is missing")
    return kind(**{name: _parse(hints[name], item, f"{where}: {name}") for name, item in value.items()})
