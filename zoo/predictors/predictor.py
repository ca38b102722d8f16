"""The base class of all models of the zoo, whether they predict the frames of a video or the values of a series."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from tensortrain.notebooks import facts
from zoo.errors import ZooError
from zoo.settings import Recipe

_CASTS = {torch.float32: "float()", torch.float64: "double()", torch.float16: "half()", torch.bfloat16: "bfloat16()"}


class Predictor(nn.Module, ABC):
    """Predicts the steps that follow the observed steps of a clip.

    A clip is a sequence of T steps in time. Every model derives from one of two subclasses, which say what a step is:
    a frame `(C, H, W)` in `zoo.VideoModel`, or the values `(d,)` of a series in `zoo.SeriesModel`.

    Attributes:
        recompute: save memory in training: keep only the state between steps, and compute each step again in the
            backward pass. This takes about a third more time. None for a model that has no such state.
        unrepeatable: the operator whose backward pass sums in no fixed order on a GPU, so that two trainings there
            differ in their last bits; empty if there is none.
        recipe: the settings from which the model was built and, if it was read from a file or a run, trained. None if
            its class was called directly.
    """

    recompute: bool | None = None
    unrepeatable: str = ""
    recipe: Recipe | None = None

    @abstractmethod
    def forward(self, x: Tensor, horizon: int, truth: Tensor | None = None, use_truth: Tensor | None = None) -> Tensor:
        """Predict the `horizon` steps that follow x.

        Args:
            x: observed steps `(B, T_in, …)`.
            horizon: the number of steps to predict after x, at least 1.
            truth: in training, the true steps after x, `(B, ≥ horizon - 1, …)`.
            use_truth: the mask of scheduled sampling: True where the model reads the true step, False where it reads
                its own prediction. Its shape is `(B, horizon - 1)` for the steps after x, or `(B, T_in + horizon - 2)`
                for all steps but the first.

        Returns:
            In evaluation mode, predicted steps `(B, T ≥ horizon, …)`; the last `horizon` of them follow x.
        """

    @abstractmethod
    def loss(
        self,
        predictions: Tensor,
        clips: Tensor,
        l1: float = 1.0,
        l2: float = 1.0,
        cross_entropy: float = 0.0,
        gradient: float = 0.0,
    ) -> Tensor:
        """The loss that training minimises and validation reports, a scalar.

        Args:
            predictions: what `forward` returned for the first steps of the clips, in the model's current mode.
            clips: all true steps, the observed ones included, `(B, T_in + horizon, …)`.
            l1: weight of the mean absolute error, the setting `training.l1`.
            l2: weight of the mean squared error, the setting `training.l2`.
            cross_entropy: weight of the cross-entropy, the setting `training.cross_entropy`.
            gradient: weight of the gradient difference, the setting `training.gradient`.
        """

    @abstractmethod
    def check(self, x: Tensor, horizon: int, truth: Tensor | None = None, use_truth: Tensor | None = None) -> None:
        """Raise a ZooError unless `forward` can take these arguments."""

    def _repr_html_(self) -> str:
        """Show the model in a notebook: its name, its parts and their numbers of parameters."""
        parts = {name or "itself": _count(child) for name, child in self.named_children()}
        rows = {"parameters": _count(self)} | parts
        name = type(self).__name__ if self.recipe is None else f"{self.recipe.model} ({type(self).__name__})"
        return facts(name, rows, {"layers": repr(self)})

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        revision: str | None = None,
        token: str | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
    ) -> Self:
        """Read a model from the Hugging Face Hub, or from a folder of `save_pretrained`. It is in evaluation mode.

        The file names the registered model, which decides the class of the result. So
        `zoo.VideoModel.from_pretrained` reads every video model.

        Args:
            name: a folder, or a repository of the hub such as "name/my-model".
            revision: a branch, tag or commit of the repository.
            token: the access token; by default that of `hf auth login`.
            cache_dir: the folder where downloads are stored.
            force_download: download again what is in the cache.
            local_files_only: read from the cache only, without a connection.

        Raises:
            ZooError: if huggingface-hub is not installed, the hub cannot be reached or refuses, a file is damaged, or
                the model belongs to another class.
        """
        from zoo.model_files.hub import from_pretrained

        return from_pretrained(
            cls,
            name,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
        )

    def save_pretrained(self, folder: str | Path, recipe: Recipe | None = None, scores: Sequence[Any] = ()) -> None:
        """Write weights, settings and a card to a folder; see `zoo.model_files.hub.save_pretrained`.

        Args:
            folder: where to write; it is created if it does not exist.
            recipe: the settings that the model was trained by; by default `model.recipe`.
            scores: results of `zoo.evaluate` for the card.

        Raises:
            ZooError: if huggingface-hub is not installed, there is no recipe, or the folder cannot be written.
        """
        from zoo.model_files.hub import save_pretrained

        save_pretrained(self, folder, recipe, scores)

    def push_to_hub(
        self,
        repo_id: str,
        recipe: Recipe | None = None,
        scores: Sequence[Any] = (),
        private: bool | None = None,
        token: str | None = None,
        branch: str | None = None,
    ) -> str:
        """Upload the files of `save_pretrained` to the Hugging Face Hub; see `zoo.model_files.hub.push_to_hub`.

        Args:
            repo_id: the repository, such as "name/my-model"; it is created if it does not exist.
            recipe: the settings that the model was trained by; by default `model.recipe`.
            scores: results of `zoo.evaluate` for the card.
            private: whether a new repository is private.
            token: the access token; by default that of `hf auth login`.
            branch: the branch to push to; by default "main".

        Returns:
            The web address of the commit.

        Raises:
            ZooError: in the cases of `save_pretrained`, or if the hub cannot be reached or refuses.
        """
        from zoo.model_files.hub import push_to_hub

        return push_to_hub(self, repo_id, recipe, scores, private, token, branch)


def check_tensor(x: object, name: str = "x") -> None:
    """Raise a ZooError unless an argument of this name is a tensor."""
    if not isinstance(x, Tensor):
        raise ZooError(f"{name} is of type {type(x).__name__}, but must be a tensor; use torch.as_tensor({name})")


def check_precision(model: nn.Module, x: Tensor) -> None:
    """Raise a ZooError unless x has the precision of the model's weights, or autocast converts one to the other."""
    weights = dict.fromkeys(each.dtype for each in model.parameters() if each.is_floating_point())
    if not weights or x.dtype in weights:
        return
    kind = x.device.type
    autocast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    if autocast and torch.float64 not in (x.dtype, *weights):  # it leaves numbers of 64 bits as they are
        return
    needed = next(iter(weights))
    theirs, ours = (str(dtype).removeprefix("torch.") for dtype in (x.dtype, needed))
    raise ZooError(
        f"x is {theirs}, but the weights are {ours}; use x.{_CASTS.get(needed, f'to({needed})')} or "
        f"model.{_CASTS.get(x.dtype, f'to({x.dtype})')}"
    )


def check_rollout(x: Tensor, horizon: int, truth: Tensor | None, use_truth: Tensor | None) -> None:
    """Raise a ZooError unless x `(B ≥ 1, T_in, …)` holds floating-point numbers, and the other arguments fit to it."""
    if not x.is_floating_point():
        raise ZooError(f"x has dtype {x.dtype}, but models read floating-point numbers; use x.float() / 255 for bytes")
    if x.shape[0] < 1:
        raise ZooError(f"x has shape {tuple(x.shape)}, which holds no clip; at least one is needed")
    if isinstance(horizon, bool) or not isinstance(horizon, Integral) or horizon < 1:
        raise ZooError(f"horizon = {horizon!r} must be a whole number, at least 1")
    if truth is not None:
        step = (x.shape[0], *x.shape[2:])
        if truth.dim() != x.dim() or (truth.shape[0], *truth.shape[2:]) != step or truth.shape[1] < horizon - 1:
            raise ZooError(
                f"truth has shape {tuple(truth.shape)}; ({x.shape[0]}, ≥ {horizon - 1}, "
                f"{', '.join(map(str, x.shape[2:]))}) is needed for x of shape {tuple(x.shape)}"
            )
    if use_truth is not None:
        if truth is None:
            raise ZooError("use_truth is passed without truth; pass the true steps too")
        legal = [(x.shape[0], horizon - 1), (x.shape[0], x.shape[1] + horizon - 2)]
        if tuple(use_truth.shape) not in legal or use_truth.dtype != torch.bool:
            raise ZooError(
                f"use_truth has shape {tuple(use_truth.shape)} and {use_truth.dtype}, but must be bool of shape "
                f"{legal[0]} (scheduled sampling) or {legal[1]} (reverse scheduled sampling)"
            )


def _count(module: nn.Module) -> str:
    return f"{sum(parameter.numel() for parameter in module.parameters()):,}"
