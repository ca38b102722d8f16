"""Models by name: what makes each, its options, its paper, and what the presets set. Read without importing torch."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from zoo.errors import ZooError, nearest
from zoo.papers import PAPERS, Paper
from zoo.settings import Content

if TYPE_CHECKING:
    from zoo.predictor import Predictor

Maker = TypeVar("Maker", bound="Callable[..., Predictor]")

GROUP = "zoo.models"  # of entry points


@dataclass(frozen=True)
class PresetOptions:
    """Options of a model that presets set. A model that declares none is made with its own defaults by every preset.

    Args:
        small: by the preset "small".
        brief: by the preset "brief". Once its results are in a table these never change.
        demo: by the preset "demo".
        filmed: besides, by every preset on videos of the world (KTH, `videos:DIR`), which have no black ground.
    """

    small: Mapping[str, Any] = field(default_factory=dict)
    brief: Mapping[str, Any] = field(default_factory=dict)
    demo: Mapping[str, Any] = field(default_factory=dict)
    filmed: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A registered model.

    Args:
        name: to create it by.
        make: a function or class that makes it from keyword arguments.
        paper: where it was published, or a text that says so.
        setting: the paper by whose settings the preset "paper" trains it; None if nobody has published any.
        summary: one line on what it is.
        parameters: how many it has with its default options, if that is known beforehand.
        fixed: arguments of `make` that are no options of this model.
        defaults: options whose defaults differ from those of `make`.
        presets: what the presets set.
        feedback: whether the model reads its own predictions, or the name of the option that says so; see `feeds_back`.
        reads: what clips it predicts: "video" or "series".
    """

    name: str
    make: "Callable[..., Predictor]"
    paper: Paper | str
    setting: Paper | None
    summary: str
    parameters: int | None
    fixed: Mapping[str, Any]
    defaults: Mapping[str, Any]
    presets: PresetOptions
    feedback: bool | str = True
    reads: Content = "video"

    @property
    def options(self) -> dict[str, Any]:
        """The model's options and their defaults; `inspect.Parameter.empty` where there is none.

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
        """The paper as tables print it."""
        return self.paper.citation if isinstance(self.paper, Paper) else self.paper

    def feeds_back(self, options: Mapping[str, Any]) -> bool:
        """Whether the model, made with these options, reads its own predictions or the true frames in their place.

        Scheduled sampling decides between the two; for a model that reads neither there is nothing to sample.

        >>> find_model("fc-lstm").feeds_back({}), find_model("fc-lstm").feeds_back({"conditioned": True})
        (False, True)
        """
        if isinstance(self.feedback, bool):
            return self.feedback
        return bool({**self.options, **options}[self.feedback])

    def build(self, **options: Any) -> "Predictor":
        """Make the model.

        Raises:
            ZooError: an option that it does not have, or a value that it refuses.
        """
        known = self.options
        for option in options:
            if option not in known:
                frames = self.reads == "series" and option in ("canvas", "channels", "patch")
                why = "that is an option of models of video, and it reads series; leave it out"
                raise ZooError(f"{self.name} has no option {option!r}; {why if frames else nearest(option, known)}")
        return self.make(**{**self.fixed, **self.defaults, **options})


_MODELS: dict[str, Entry] = {}
_LOADED: set[str] = set()  # entry points


def register(
    name: str,
    paper: Paper | str,
    setting: Paper | str | None = None,
    *,
    presets: PresetOptions | None = None,
    summary: str | None = None,
    parameters: int | None = None,
    fixed: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
    feeds_back: bool | str = True,
    reads: Content = "video",
) -> Callable[[Maker], Maker]:
    """Decorator: make a function or class known to `create_model` by a name; its keywords are the model's options.

    Applied several times, with other `fixed` arguments or `defaults`, it registers variants of one model.

    Args:
        name: to create it by.
        paper: where it was published, or any text to print instead.
        setting: the paper, or its key in `zoo.papers.PAPERS`, by whose settings the preset "paper" trains the model. By
            default `paper`, if that prints settings; without settings there is no preset "paper".
        presets: options that presets set.
        summary: one line on it; the first of its docstring by default.
        parameters: how many it has with its default options.
        fixed: arguments that are no options, and their values.
        defaults: options with other defaults than in its signature.
        feeds_back: whether it reads its own predictions while it predicts, or the name of the option that says so.
        reads: what clips it predicts: "video" if it is a `zoo.VideoModel`, "series" if it is a `zoo.SeriesModel`.

    Raises:
        ZooError: a name that is taken, an unknown setting or one without settings, or an argument in `fixed`,
            `defaults` or `presets` that the function does not have.

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
        trained_as = _find_setting(name, paper, setting)
        entry = Entry(
            name, make, paper, trained_as, line, parameters, fixed or {}, defaults or {}, declared, feeds_back, reads
        )
        _check_arguments(entry)
        _MODELS[name] = entry
        return make

    return add


def find_model(name: str) -> Entry:
    """The entry of a model.

    Raises:
        ZooError: no such model; the message names the nearest one. Or an installed package cannot be imported that
            says it has models.
    """
    if name not in _MODELS:
        _load_entry_points()
    if name not in _MODELS:
        raise ZooError(f"no model {name!r}; {nearest(name, _MODELS)}; one of your own needs --import FILE")
    return _MODELS[name]


def model_names() -> list[str]:
    """Every registered name, sorted.

    Raises:
        ZooError: an installed package cannot be imported that says it has models.

    >>> import zoo.models  # registers them
    >>> [name for name in model_names() if name.startswith("conv-tt")]
    ['conv-tt-lstm-fw', 'conv-tt-lstm-sw']
    """
    _load_entry_points()
    return sorted(_MODELS)


def _find_setting(name: str, paper: Paper | str, setting: Paper | str | None) -> Paper | None:
    """The paper by whose settings a model is trained."""
    if setting is None:
        return paper if isinstance(paper, Paper) and paper.settings else None
    return find_settings(name, setting)


def find_settings(name: str, setting: Paper | str) -> Paper:
    """The paper with settings that `setting` is, or is the key of, for the model `name`.

    Raises:
        ZooError: no such paper, or one that prints no settings.
    """
    if isinstance(setting, str):
        if setting not in PAPERS:
            raise ZooError(f"setting = {setting!r} of the model {name!r} is no paper; {nearest(setting, PAPERS)}")
        setting = PAPERS[setting]
    if not setting.settings:
        known = [paper.key for paper in PAPERS.values() if paper.settings]
        raise ZooError(f"setting = {setting.key!r} of the model {name!r} prints no settings; {', '.join(known)} do")
    return setting


def _check_arguments(entry: Entry) -> None:
    """Raise a ZooError if what was registered of a model's arguments does not fit its signature."""
    known = inspect.signature(entry.make).parameters
    options = entry.options
    declared = entry.presets
    presets = {**declared.small, **declared.brief, **declared.demo, **declared.filmed}
    for kind, names, legal in (
        ("fixed", entry.fixed, known),
        ("defaults", entry.defaults, known),
        ("presets", presets, options),
    ):
        for each in names:
            if each not in legal:
                raise ZooError(f"{kind} of the model {entry.name!r} names {each!r}; {nearest(each, legal)}")


def _load_entry_points() -> None:
    """Import what installed packages name in their entry-point group `zoo.models`; importing it registers models."""
    from importlib.metadata import entry_points  # takes longer to import than all else that lists the models

    for point in entry_points(group=GROUP):
        if point.value in _LOADED:
            continue
        try:
            point.load()
        except Exception as error:  # whatever a package's code may raise
            package = point.dist.name if point.dist is not None else "an installed package"
            raise ZooError(
                f"the models {point.name!r} of {package} cannot be imported from {point.value} "
                f"({type(error).__name__}: {error}); repair or remove that package"
            ) from error
        _LOADED.add(point.value)
