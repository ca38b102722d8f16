"""The interface of measures: one number for each predicted step, and how it is computed."""

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
    """A metric, split into `features(steps)` and `value(predicted, true)`.

    Because of the split, the features of the true steps are computed only once for all models. Both functions raise a
    ZooError if steps are invalid or cannot be compared; see `zoo.evaluation.frames`.

    Args:
        features: a function from floating-point steps `(B, T, …)` to their features.
        value: a function from predicted and true features to values `(B, T)` in float64. The predicted features may be
            those of one step, which is broadcast.
    """

    features: Callable[[Tensor], Features]
    value: Callable[[Features, Features], Tensor]


class Parts(NamedTuple):
    """The functions of a measure without checks; see `Comparison`."""

    features: Callable[[Tensor], Any]
    value: Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class Measure(ABC):
    """A measure: it gives one number for each predicted step, and says how that number is computed."""

    content: ClassVar[Content]  # the kind of clips that it measures
    key: ClassVar[str]
    higher_is_better: ClassVar[bool]
    digits: ClassVar[int]  # number of printed digits after the decimal point

    @abstractmethod
    def parts(self, root: Path | str | None, device: torch.device) -> Parts:
        """The functions that measure, without checks; see `comparison`."""

    @abstractmethod
    def check(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Check steps, and return their lowest and highest value.

        Raises:
            ZooError: if these are not steps of the kind that is measured.
        """

    @abstractmethod
    def check_pair(self, predicted: Features, true: Features) -> None:
        """Raise a ZooError unless predicted and true steps can be compared. One predicted step may be broadcast."""

    @abstractmethod
    def text(self) -> str:
        """How the number is computed from prepared steps, to print below a table."""

    def comparison(self, root: Path | str | None, device: torch.device) -> Comparison:
        """The functions that check and measure steps.

        Args:
            root: the data root with weights that the measure may need.
            device: the device of the steps.

        Raises:
            ZooError: if weights are missing.
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
        """The unit, which is shown below the name in a table's heading; empty if there is none."""
        return ""

    @property
    def scale(self) -> float:
        """The factor by which tables multiply the values."""
        return 1.0

    @property
    def heading(self) -> str:
        """The heading of a table's column: the name, an arrow that points to better values, and the unit."""
        return f"{self.key.upper()} {'↑' if self.higher_is_better else '↓'}\n{self.unit}".strip()

    @property
    def preparation(self) -> str:
        """How steps are prepared, to print below a table."""
        return ""

    def of_mean(self, mean: Tensor) -> Tensor:
        """The reported value, from the mean over clips of each step's values `(T,)`: by default the mean itself."""
        return mean

    def shown(self, value: float) -> str:
        """A value as it is printed in tables."""
        return f"{value * self.scale:.{self.digits}f}"

    def between(self, predicted: Tensor, true: Tensor, root: Path | str | None = None) -> Tensor:
        """Measure predicted steps against the true ones, for each clip.

        Args:
            predicted: the predicted steps, floating-point `(B, T, …)`.
            true: the true steps, of the same shape.
            root: the data root with weights that the measure may need.

        Returns:
            The values `(B, T)` in float64, without the factor of tables.

        Raises:
            ZooError: if weights are missing; or if the steps differ in shape, are out of range, or are NaN.
        """
        for steps in (predicted, true):
            self.check(steps)
        if predicted.shape != true.shape:
            raise ZooError(
                f"predicted steps {tuple(predicted.shape)} and true steps {tuple(true.shape)} differ in shape; pass "
                "tensors of equal shape"
            )
        features, value = self.comparison(root, true.device)
        return value(features(predicted), features(true))

    def to_dict(self) -> dict[str, Any]:
        """The measure as plain data. `measure_from_dict` is the inverse."""
        return {"measure": self.key, **asdict(self)}
