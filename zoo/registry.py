"""Models by name."""

import inspect
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from zoo.errors import ZooError, nearest
from zoo.video_model import VideoModel

Setting = Literal["conv-tt-lstm", "predrnn-pp"]


class Entry(NamedTuple):
    """A registered model: what makes it, where it was published, whose training settings it has, one line on it."""

    make: Callable[..., VideoModel]
    paper: str
    setting: Setting
    summary: str


_MODELS: dict[str, Entry] = {}


def register(
    name: str, paper: str, setting: Setting = "conv-tt-lstm"
) -> Callable[[Callable[..., VideoModel]], Callable[..., VideoModel]]:
    """Decorator: make a function or class known to `create_model` by `name`; its keywords are the model's options.

    Args:
        name: to create it by.
        paper: where it was published.
        setting: the paper by whose settings the presets train it.
    """

    def add(make: Callable[..., VideoModel]) -> Callable[..., VideoModel]:
        if name in _MODELS:
            raise ZooError(f"a model {name!r} is registered already; choose another name")
        _MODELS[name] = Entry(make, paper, setting, (inspect.getdoc(make) or "").partition("\n")[0])
        return make

    return add


def find_model(name: str) -> Entry:
    """The entry of a model.

    Raises:
        ZooError: no such model; the message names the nearest one.
    """
    import zoo.models  # noqa: F401 - registers those of the package

    if name not in _MODELS:
        raise ZooError(f"no model {name!r}; {nearest(name, _MODELS)}")
    return _MODELS[name]


def model_names() -> list[str]:
    """Every registered name, sorted."""
    import zoo.models  # noqa: F401

    return sorted(_MODELS)


def create_model(name: str, pretrained: str | None = None, **options: Any) -> VideoModel:
    """Make a model.

    Args:
        name: as registered; `zoo models` lists them.
        pretrained: weights that ship with the package, such as "moving-mnist-small"; these bring their own options.
        options: the model's keyword arguments, over its published settings.

    Raises:
        ZooError: an unknown model, option or set of weights, or options beside `pretrained`.

    >>> import torch
    >>> model = create_model("conv-lstm", hidden=(4,), layers=(1,), kernel=3)
    >>> model(torch.rand(2, 5, 1, 16, 16), horizon=3).shape
    torch.Size([2, 7, 1, 16, 16])
    """
    make = find_model(name).make
    if pretrained is not None:
        if options:
            raise ZooError(f"options {sorted(options)} are given beside pretrained = {pretrained!r}, which has its own")
        from zoo.pretrained import load_pretrained

        return load_pretrained(name, pretrained)[0]
    known = inspect.signature(make).parameters
    for option in options:
        if option not in known:
            raise ZooError(f"{name} has no option {option!r}; {nearest(option, known)}")
    return make(**options)
