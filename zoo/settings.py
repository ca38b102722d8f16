"""What a run is made of: typed settings and the presets.

A `Recipe` is plain data, read from YAML or the command line and written beside every run. Steps are optimiser steps;
an epoch is `Data.clips` training clips.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints

from zoo.errors import ZooError, nearest

DATA_SETS = ("moving-mnist", "kth", "videos:DIR")
VALIDATION_PERSONS = (15, 16)  # of KTH
Rule = Literal["predrnn", "mcnet", "conv-tt-lstm"]


@dataclass(frozen=True)
class Data:
    """The clips. What is said to be of one data set means nothing to the others.

    Args:
        name: the data set: "moving-mnist", "kth", or "videos:DIR" for the videos in the folder DIR.
        canvas: height and width of a frame, in pixels.
        channels: 1 for grey, 3 for RGB; the model's. Only videos have colours.
        observed: frames the model sees, T_in.
        length: frames of a training clip, observed ones included.
        clips: training clips in an epoch.
        endless: fresh clips for ever instead of the same ones in every epoch.
        seed: of the training clips that are drawn.
        digits: of Moving-MNIST: moving digits in a clip.
        source: of Moving-MNIST: which handwritten digits; "auto" takes MNIST where the data root has it, else the
            embedded ones.
        rule: of KTH: which windows of its clips are looked at in validation and test, see `zoo.data.kth_windows`.
        validation: of KTH: the persons, out of 1–16, to validate on instead of training on them.
        store: of KTH and videos: which decoded files, told when a run begins, so that it goes on with the same ones.

    Raises:
        ZooError: no such data set.
    """

    name: str = "moving-mnist"
    canvas: int = 64
    channels: Literal[1, 3] = 1
    observed: int = 10
    length: int = 20
    clips: int = 10_000
    endless: bool = False
    seed: int = 0
    digits: int = 2
    source: Literal["auto", "mnist", "embedded"] = "auto"
    rule: Rule = "predrnn"
    validation: list[int] = field(default_factory=lambda: [*VALIDATION_PERSONS])
    store: str = ""

    def __post_init__(self) -> None:
        kind_of(self.name)

    @property
    def kind(self) -> str:
        """The data set without its folder: "moving-mnist", "kth" or "videos"."""
        return kind_of(self.name)


def kind_of(name: str) -> str:
    """The kind of a data set: "moving-mnist", "kth" or "videos".

    Raises:
        ZooError: no such data set.
    """
    kind, _, folder = name.partition(":")
    if name not in DATA_SETS[:2] and not (kind == "videos" and folder):
        raise ZooError(f"no data set {name!r}; {nearest(name, DATA_SETS)}")
    return kind


@dataclass(frozen=True)
class Sampling:
    """Scheduled sampling: the probability that a frame beyond the observed ones is the true one.

    Args:
        rule: "plateau" keeps 1 until the validation loss has not improved for `patience` epochs, then falls
            linearly (Conv-TT-LSTM); "linear" falls from 1 at step `start` to 0 at step `stop` (PredRNN++); "reverse"
            falls from a half, and hides observed frames too, half of them at first and none from `stop` on (PredRNN,
            2022).
        patience: epochs without improvement that "plateau" waits for.
        rate: fall of the ratio in each epoch under "plateau". The paper prints 2e-4 for Moving-MNIST, which
            would take 5000 epochs; its authors' code uses 2e-3 to 4e-3.
        start: first step of the fall under "linear" and "reverse".
        stop: last step of the fall under "linear" and "reverse".
    """

    rule: Literal["plateau", "linear", "reverse"] = "plateau"
    patience: int = 20
    rate: float = 2e-3
    start: int = 0
    stop: int = 50_000


@dataclass(frozen=True)
class Rate:
    """The learning rate.

    Args:
        rule: "plateau" holds `base` until sampling has begun to fall and the validation loss has not improved for a
            second wait of `patience` epochs, then multiplies by `factor` every `every` epochs (Conv-TT-LSTM);
            "constant" holds it; "cosine" rises linearly for `warmup` steps and falls to zero at the last step.
        base: the highest learning rate.
        patience: epochs of the second wait.
        factor: of each decay under "plateau".
        every: epochs between decays under "plateau".
        warmup: steps of the linear rise under "cosine".
    """

    rule: Literal["plateau", "constant", "cosine"] = "plateau"
    base: float = 1e-4
    patience: int = 20
    factor: float = 0.98
    every: int = 5
    warmup: int = 0


@dataclass(frozen=True)
class Training:
    """How the weights are found, and on what.

    Args:
        steps: optimiser steps of the whole run.
        batch: clips in a step over all processes; divisible by their number.
        seed: of weights, batches and sampling draws.
        l1: weight of the mean absolute error in the loss.
        l2: weight of the mean squared error in the loss.
        clip: largest global norm of the gradient; 0 for none.
        validate_every: steps between validations; 0 for once an epoch.
        validation_clips: clips of the validation split to look at; 0 for all.
        save_every: steps between the checkpoints kept besides the best and the last; 0 for none.
        finite_every: steps between looks at the device: for the metrics, and for a loss that was not finite.
        early_stop: validations without improvement after which training ends; 0 for never.
        max_time: minutes after which training stops, resumable; 0 for no limit.
        precision: Lightning's, such as "32-true", "bf16-mixed", "64-true".
        compile: compile each cell's step (`torch.compile`): faster steps after a slow first one.
        recompute: see `VideoModel.recompute`: less memory, more time.
        accelerator: Lightning's: "auto", "cpu", "gpu".
        devices: processes on each node.
        nodes: machines.
        workers: processes that prepare batches; 0 for the training process itself.
    """

    steps: int = 250_000
    batch: int = 16
    seed: int = 0
    l1: float = 1.0
    l2: float = 1.0
    clip: float = 1.0
    validate_every: int = 0
    validation_clips: int = 0
    save_every: int = 0
    finite_every: int = 50
    early_stop: int = 0
    max_time: float = 0.0
    precision: str = "32-true"
    compile: bool = False
    recompute: bool = False
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = 1
    nodes: int = 1
    workers: int = 0


@dataclass(frozen=True)
class Recipe:
    """A whole run: `options` are the keyword arguments of `zoo.create_model(model, …)`."""

    model: str
    options: dict[str, Any] = field(default_factory=dict)
    data: Data = field(default_factory=Data)
    sampling: Sampling = field(default_factory=Sampling)
    rate: Rate = field(default_factory=Rate)
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


def _parse(kind: Any, value: Any, where: str) -> Any:
    """`value` as a `kind`: a settings class, or the type of one of its fields."""
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ZooError(f"{where}: settings are needed, found {value!r}")
        hints = get_type_hints(kind)
        for name in value:
            if name not in hints:
                raise ZooError(f"{where}: no setting {name!r}; {nearest(str(name), hints)}")
        for each in dataclasses.fields(kind):
            needed = each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
            if needed and each.name not in value:
                raise ZooError(f"{where}: the setting {each.name!r} is missing")
        assert isinstance(kind, type)
        return kind(**{name: _parse(hints[name], given, f"{where}: {name}") for name, given in value.items()})
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise ZooError(f"{where} = {value!r} must be one of {', '.join(map(repr, get_args(kind)))}")
        return value
    plain_kind = get_origin(kind) or kind
    if plain_kind is float and type(value) is int:
        return float(value)
    if type(value) is not plain_kind:
        raise ZooError(f"{where} = {value!r} must be {plain_kind.__name__}")
    return value
