"""What every model of the zoo promises, whether it predicts the frames of a video or the values of a series."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from tensortrain.notebooks import facts
from zoo.errors import ZooError
from zoo.settings import Recipe


class Predictor(nn.Module, ABC):
    """Predicts the steps that follow the observed ones of a clip.

    A clip has T steps, one after the other in time. What a step is, two classes say, and every model derives from one
    of them: `zoo.VideoModel`, whose steps are frames `(C, H, W)`, and `zoo.SeriesModel`, whose steps are the values
    `(d,)` of a series.

    Attributes:
        recompute: for the backward pass, keep only the state between steps and read each step again: much less memory,
            about a third more time. None of a model that has no such state.
        unrepeatable: the operator whose backward pass adds up in no fixed order on a GPU, so that training there does
            not give the same bits twice; empty if there is none.
        recipe: how the model was made and, if it was read from a file or a run, trained; None if its class was called.
    """

    recompute: bool | None = None
    unrepeatable: str = ""
    recipe: Recipe | None = None

    @abstractmethod
    def forward(self, x: Tensor, horizon: int, truth: Tensor | None = None, use_truth: Tensor | None = None) -> Tensor:
        """Predict the `horizon` steps that follow x.

        Args:
            x: observed steps `(B, T_in, …)`.
            horizon: steps to predict beyond them, at least 1.
            truth: the true steps beyond x, `(B, ≥ horizon - 1, …)`, in training.
            use_truth: for scheduled sampling, whether the model reads the true step or its own prediction, bool
                `(B, horizon - 1)` for the steps beyond x, or `(B, T_in + horizon - 2)` for all steps but the first.

        Returns:
            In evaluation mode predicted steps `(B, T ≥ horizon, …)`, whose last `horizon` follow x.
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
        """What training minimises and validation reports: a scalar.

        Args:
            predictions: what `forward` returned for the first steps of the clips, in the mode that the model is in.
            clips: the true steps, the observed ones included, `(B, T_in + horizon, …)`.
            l1: weight of the mean absolute error, the setting `training.l1`.
            l2: weight of the mean squared error, the setting `training.l2`.
            cross_entropy: weight of the cross-entropy, the setting `training.cross_entropy`.
            gradient: weight of the gradient difference, the setting `training.gradient`.
        """

    @abstractmethod
    def check(self, x: Tensor, horizon: int, truth: Tensor | None = None, use_truth: Tensor | None = None) -> None:
        """Raise a ZooError unless these are arguments that `forward` can take."""

    def _repr_html_(self) -> str:
        """For notebooks: what the model is, its parts and their parameters."""
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
        """A model from the Hugging Face Hub or from a folder that `save_pretrained` wrote, in evaluation mode.

        It is of the class that is registered under the name that the file says: `zoo.VideoModel.from_pretrained` reads
        every model of video.

        Args:
            name: a folder, or a repository of the hub such as "name/my-model".
            revision: a branch, tag or commit there.
            token: by default that of `hf auth login`.
            cache_dir: folder for what is downloaded.
            force_download: download anew what is in the cache.
            local_files_only: read the cache alone.

        Raises:
            ZooError: huggingface-hub is not installed, the hub refuses or cannot be reached, a damaged file, or a model
                of another class.
        """
        from zoo.hub import from_pretrained

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
        """Write weights, settings and a card to a folder; see `zoo.hub.save_pretrained`. `scores` are those of
        `zoo.evaluate`.

        Raises:
            ZooError: huggingface-hub is not installed, nobody knows a recipe, or the folder cannot be written.
        """
        from zoo.hub import save_pretrained

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
        """Upload what `save_pretrained` writes to the Hugging Face Hub; see `zoo.hub.push_to_hub`.

        Returns:
            The address of the commit.

        Raises:
            ZooError: as `save_pretrained`; or the hub refuses, or cannot be reached.
        """
        from zoo.hub import push_to_hub

        return push_to_hub(self, repo_id, recipe, scores, private, token, branch)


def check_rollout(x: Tensor, horizon: int, truth: Tensor | None, use_truth: Tensor | None) -> None:
    """Raise a ZooError unless `horizon`, `truth` and `use_truth` fit observed steps x `(B, T_in, …)`."""
    if horizon < 1:
        raise ZooError(f"horizon = {horizon} must be at least 1")
    if truth is not None:
        step = (x.shape[0], *x.shape[2:])
        if truth.dim() != x.dim() or (truth.shape[0], *truth.shape[2:]) != step or truth.shape[1] < horizon - 1:
            raise ZooError(
                f"truth has shape {tuple(truth.shape)}; ({x.shape[0]}, ≥ {horizon - 1}, "
                f"{', '.join(map(str, x.shape[2:]))}) is needed beside x {tuple(x.shape)}"
            )
    if use_truth is not None:
        if truth is None:
            raise ZooError("use_truth is given without truth; give the true steps too")
        legal = [(x.shape[0], horizon - 1), (x.shape[0], x.shape[1] + horizon - 2)]
        if tuple(use_truth.shape) not in legal or use_truth.dtype != torch.bool:
            raise ZooError(
                f"use_truth has shape {tuple(use_truth.shape)} and {use_truth.dtype}; bool of shape "
                f"{legal[0]} (plain) or {legal[1]} (reverse scheduled sampling) is needed"
            )


def _count(module: nn.Module) -> str:
    return f"{sum(parameter.numel() for parameter in module.parameters()):,}"
