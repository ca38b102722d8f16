"""The registry of models: their makers, options, papers and preset options. It can be read without importing torch."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from zoo.errors import ZooError, nearest
from zoo.papers import PAPERS, Paper
from zoo.settings import Content

if TYPE_CHECKING:
    from zoo.predictors.predictor import Predictor

Maker = TypeVar("Maker", bound="Callable[..., Predictor]")

GROUP = "zoo.models"  # the group of entry points where installed packages name their models


@dataclass(frozen=True)
class PresetOptions:
    """The options of a model that each preset sets. Without them, all presets use the model's default options.

    Args:
        small: options in the preset "small".
        brief: options in the preset "brief". Do not change them after results were published: the table would no longer
            match.
        demo: options in the preset "demo".
        filmed: further options, in every preset, for filmed videos (KTH, `videos:DIR`), which have no black background.
        digits: settings of `training` in the presets "small" and "demo" for Moving-MNIST, whose background is black.

    >>> PresetOptions(small={"hidden": [64, 64]}, demo={"hidden": [16]}).demo
    {'hidden': [16]}
    """

    small: Mapping[str, Any] = field(default_factory=dict)
    brief: Mapping[str, Any] = field(default_factory=dict)
    demo: Mapping[str, Any] = field(default_factory=dict)
    filmed: Mapping[str, Any] = field(default_factory=dict)
    digits: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A registered model.

    Args:
        name: the name to create it by.
        make: a function or class that makes it from keyword arguments.
        paper: the paper that published it, or a text to print instead.
        protocol: the paper whose settings the preset "paper" uses; None if no settings are published.
        summary: one line that says what it is.
        parameters: its number of parameters with default options, if known beforehand.
        fixed: arguments of `make` that users of this model cannot set.
        defaults: options whose defaults differ from those of `make`.
        presets: the options that each preset sets.
        feedback: whether the model reads its own predictions, or the name of the option that decides; see `feeds_back`.
        reads: the kind of clips it predicts: "video" or "series".
        training_only: options that act only in training: on the initial weights or on the loss. See `predicting`.
    """

    name: str
    make: "Callable[..., Predictor]"
    paper: Paper | str
    protocol: Paper | None
    summary: str
    parameters: int | None
    fixed: Mapping[str, Any]
    defaults: Mapping[str, Any]
    presets: PresetOptions
    feedback: bool | str = True
    reads: Content = "video"
    training_only: tuple[str, ...] = ()

    @property
    def options(self) -> dict[str, Any]:
        """The model's options and their defaults. An option without a default has `inspect.Parameter.empty`.

        >>> import zoo.models  # registers them
        >>> find_model("conv-tt-lstm-fw").options["order"]
        1
        """
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        parameters = inspect.signature(self.make).parameters.values()
        own = {each.name: each.default for each in parameters if each.kind in kinds and each.name not in self.fixed}
        return own | dict(self.defaults)

    @property
    def citation(self) -> str:
        """The paper as it is printed in tables."""
        return self.paper.citation if isinstance(self.paper, Paper) else self.paper

    def feeds_back(self, options: Mapping[str, Any]) -> bool:
        """Whether the model, made with these options, reads frames while it predicts: its own predictions or true ones.

        Scheduled sampling chooses between the two. It does not apply to a model that reads neither.

        >>> find_model("fc-lstm").feeds_back({}), find_model("fc-lstm").feeds_back({"conditioned": True})
        (False, True)
        """
        if isinstance(self.feedback, bool):
            return self.feedback
        return bool({**self.options, **options}[self.feedback])

    def predicting(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The given options without those that act only in training.

        With equal weights, models that agree in these options make the same predictions.

        >>> import zoo.models  # registers them
        >>> find_model("dfn").predicting({"filter_size": 5, "centre_bias": 6.0})
        {'filter_size': 5}
        """
        kept = {name: value for name, value in options.items() if name not in self.training_only}
        for option, _, item in (name.partition(".") for name in self.training_only):
            if item and isinstance(items := kept.get(option), Mapping):
                kept[option] = {name: value for name, value in items.items() if name != item} or None
        return kept

    def build(self, **options: Any) -> "Predictor":
        """Make the model.

        Raises:
            ZooError: if the model has no such option, or refuses a value.
        """
        known = self.options
        for option in options:
            if option not in known:
                frames = self.reads == "series" and option in ("canvas", "channels", "patch")
                why = "it is an option of video models, and this model reads series; leave it out"
                raise ZooError(f"{self.name} has no option {option!r}; {why if frames else nearest(option, known)}")
        return self.make(**{**self.fixed, **self.defaults, **options})


_MODELS: dict[str, Entry] = {}
_LOADED: set[str] = set()  # entry points that were imported already


def register(
    name: str,
    paper: Paper | str,
    protocol: Paper | str | None = None,
    *,
    presets: PresetOptions | None = None,
    summary: str | None = None,
    parameters: int | None = None,
    fixed: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
    feeds_back: bool | str = True,
    reads: Content = "video",
    training_only: tuple[str, ...] = (),
) -> Callable[[Maker], Maker]:
    """Decorator: register a function or class as a model that `create_model` makes by name. Its keywords are options.

    Apply it several times, with other `fixed` arguments or `defaults`, to register variants of one model.

    Args:
        name: the name to create the model by.
        paper: the paper that published it, or any text to print instead.
        protocol: the paper, or its key in `zoo.papers.PAPERS`, whose settings the preset "paper" uses. The default is
            `paper`, if that has settings. Without settings, the model has no preset "paper".
        presets: the options that each preset sets.
        summary: one line that says what the model is; by default the first line of its docstring.
        parameters: its number of parameters with default options.
        fixed: arguments, with their values, that users of this model cannot set.
        defaults: options whose defaults differ from those in the signature.
        feeds_back: whether the model reads its own predictions while it predicts, or the name of the option that
            decides.
        reads: the kind of clips it predicts: "video" for a `zoo.VideoModel`, "series" for a `zoo.SeriesModel`.
        training_only: options that act only in training: on the initial weights or on the loss, but not on what given
            weights predict. `zoo train --continue` may change them. An item of an option that is a mapping is named
            "OPTION.ITEM".

    Raises:
        ZooError: if the name is taken, `protocol` is unknown or has no settings, or the function does not have an
            argument that is named in `fixed`, `defaults`, `presets` or `training_only`.

    >>> @register("no-motion", paper="an example")
    ... def no_motion(channels: int = 1):
    ...     '''Predicts that nothing moves.'''
    ...     from zoo.evaluation import CopyLast
    ...     return CopyLast(channels)
    >>> find_model("no-motion").summary
    'Predicts that nothing moves.'
    >>> find_model("no-motion").build(channels=3).channels
    3
    """
    declared = presets or PresetOptions()

    def add(make: Maker) -> Maker:
        if name in _MODELS:
            raise ZooError(f"a model {name!r} is registered already; choose another name")
        line = (inspect.getdoc(make) or "").partition("\n")[0] if summary is None else summary
        trained_as = _find_protocol(name, paper, protocol)
        entry = Entry(
            name,
            make,
            paper,
            trained_as,
            line,
            parameters,
            fixed or {},
            defaults or {},
            declared,
            feeds_back,
            reads,
            training_only,
        )
        _check_arguments(entry)
        _MODELS[name] = entry
        return make

    return add


def find_model(name: str) -> Entry:
    """Look up a registered model.

    Raises:
        ZooError: if there is no such model (the message suggests the closest name), or an installed package that
            declares models cannot be imported.
    """
    if not isinstance(name, str):
        raise ZooError(f"model = {name!r} must be the name of a model, such as 'conv-lstm'")
    if name not in _MODELS:
        _load_entry_points()
    if name not in _MODELS:
        raise ZooError(f"no model {name!r}; {nearest(name, _MODELS)}; a model of your own needs --import FILE")
    return _MODELS[name]


def model_names() -> list[str]:
    """All registered names, in alphabetical order.

    Raises:
        ZooError: if an installed package that declares models cannot be imported.

    >>> import zoo.models  # registers them
    >>> [name for name in model_names() if name.startswith("conv-tt")]
    ['conv-tt-lstm-fw', 'conv-tt-lstm-sw']
    """
    _load_entry_points()
    return sorted(_MODELS)


def _find_protocol(name: str, paper: Paper | str, protocol: Paper | str | None) -> Paper | None:
    """The paper whose settings the preset "paper" uses for a model."""
    if protocol is None:
        return paper if isinstance(paper, Paper) and paper.settings else None
    return find_protocol(name, protocol)


def find_protocol(name: str, protocol: Paper | str) -> Paper:
    """The paper with settings that `protocol` is or names.

    Args:
        name: the model's name, for error messages.
        protocol: a paper, or the key of one in `zoo.papers.PAPERS`.

    Raises:
        ZooError: if there is no such paper, or it has no settings.
    """
    if isinstance(protocol, str):
        if protocol not in PAPERS:
            raise ZooError(f"protocol = {protocol!r} of the model {name!r} is not a paper; {nearest(protocol, PAPERS)}")
        protocol = PAPERS[protocol]
    if not protocol.settings:
        known = [paper.key for paper in PAPERS.values() if paper.settings]
        raise ZooError(
            f"protocol = {protocol.key!r} of the model {name!r} has no settings; these papers do: {', '.join(known)}"
        )
    return protocol


def _check_arguments(entry: Entry) -> None:
    """Raise a ZooError if what was declared names an argument that the model does not have."""
    known = inspect.signature(entry.make).parameters
    options = entry.options
    declared = entry.presets
    presets = {**declared.small, **declared.brief, **declared.demo, **declared.filmed}
    for kind, names, legal in (
        ("fixed", entry.fixed, known),
        ("defaults", entry.defaults, known),
        ("presets", presets, options),
        ("training_only", [name.partition(".")[0] for name in entry.training_only], options),
    ):
        for each in names:
            if each not in legal:
                raise ZooError(f"{kind} of the model {entry.name!r} names {each!r}; {nearest(each, legal)}")


def _load_entry_points() -> None:
    """Import the modules that installed packages name in the entry-point group `zoo.models`. This registers models."""
    from importlib.metadata import entry_points  # slow to import, so only when it is needed

    for point in entry_points(group=GROUP):
        if point.value in _LOADED:
            continue
        try:
            point.load()
        except Exception as error:  # a package's code may raise anything
            package = point.dist.name if point.dist is not None else "an installed package"
            raise ZooError(
                f"the models {point.name!r} of {package} cannot be imported from {point.value} "
                f"({type(error).__name__}: {error}); repair or remove that package"
            ) from error
        _LOADED.add(point.value)
