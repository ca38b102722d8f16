"""What a measure is: one number for each predicted step, and how it is computed."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from zoo.errors import ZooError
from zoo.evaluation.frames import Features
from zoo.settings import Content


class Comparison(NamedTuple):
    """A metric split into `features(steps)` and `value(predicted, true)`.

    So the features of the true steps are computed once for all models. Both raise a ZooError about steps that are none,
    or that cannot be compared, see `zoo.evaluation.frames`.

    Args:
        features: maps steps `(B, T, …)`, in floating point, to their features.
        value: maps predicted and true features to values `(B, T)` in float64. The predicted ones may be of one step
            that stands for all.
    """

    features: Callable[[Tensor], Features]
    value: Callable[[Features, Features], Tensor]


class Parts(NamedTuple):
    """What a measure does with steps that are checked, as in `Comparison`."""

    features: Callable[[Tensor], Any]
    value: Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class Measure(ABC):
    """One number for each predicted step, and how it is computed."""

    content: ClassVar[Content]  # of the clips that it measures
    key: ClassVar[str]
    higher_is_better: ClassVar[bool]
    digits: ClassVar[int]  # printed after the decimal point

    @abstractmethod
    def parts(self, root: Path | str | None, device: torch.device) -> Parts:
        """The functions that measure, see `comparison`."""

    @abstractmethod
    def check(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """The lowest and the highest value.

        Raises:
            ZooError: these are no steps of the kind that is measured.
        """

    @abstractmethod
    def check_pair(self, predicted: Features, true: Features) -> None:
        """Raise a ZooError unless predicted steps can be compared with true ones; one of them may stand for all."""

    @abstractmethod
    def text(self) -> str:
        """How the number is computed from prepared steps, for the foot of a table."""

    def comparison(self, root: Path | str | None, device: torch.device) -> Comparison:
        """The functions that check steps and measure them.

        Args:
            root: the data root, which may have weights that the measure needs.
            device: of the steps to measure.

        Raises:
            ZooError: weights are missing.
        """
        parts = self.parts(root, device)

        def features(steps: Tensor) -> Features:
            low, high = self.check(steps)
            return Features(tuple(steps.shape), low, high, parts.features(steps))

        def value(predicted: Features, true: Features) -> Tensor:
            self.check_pair(predicted, true)
            return parts.value(predicted.content, true.content)

        return Comparison(features, value)

    @property
    def unit(self) -> str:
        """The unit, which a table's heading shows below the name; empty if there is none."""
        return ""

    @property
    def scale(self) -> float:
        """The factor by which a table multiplies values."""
        return 1.0

    @property
    def heading(self) -> str:
        """The heading of a table's column: the name, an arrow in the direction of better values, and the unit."""
        return f"{self.key.upper()} {'↑' if self.higher_is_better else '↓'}\n{self.unit}".strip()

    @property
    def preparation(self) -> str:
        """How steps are prepared, for the foot of a table."""
        return ""

    def of_mean(self, mean: Tensor) -> Tensor:
        """What is reported, from the mean over clips of each step's values `(T,)`: that mean itself."""
        return mean

    def shown(self, value: float) -> str:
        """A value as a table prints it."""
        return f"{value * self.scale:.{self.digits}f}"

    def between(self, predicted: Tensor, true: Tensor, root: Path | str | None = None) -> Tensor:
        """Measure predicted steps, clip by clip, against the true ones.

        Args:
            predicted: `(B, T, …)`, in floating point.
            true: of the same shape.
            root: the data root, which may have weights that the measure needs.

        Returns:
            `(B, T)` in float64, without the scale of tables.

        Raises:
            ZooError: weights are missing; or steps are of different shapes, outside their range, or NaN.
        """
        for steps in (predicted, true):
            self.check(steps)
        if predicted.shape != true.shape:
            raise ZooError(
                f"predicted steps {tuple(predicted.shape)} and true ones {tuple(true.shape)} differ in shape; give as "
                "many of both"
            )
        features, value = self.comparison(root, true.device)
        return value(features(predicted), features(true))

    def to_dict(self) -> dict[str, Any]:
        """The measure as plain data, which `measure_from_dict` reads."""
        return {"measure": self.key, **asdict(self)}
