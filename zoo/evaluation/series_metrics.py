"""The measure of predicted series: the root of the mean squared error at each step."""

from pathlib import Path

import torch
from torch import Tensor

from zoo.errors import ZooError
from zoo.evaluation.frames import Features
from zoo.evaluation.measure import Measure, Parts


class Rmse(Measure):
    """The root of the mean squared error over all clips and columns, at each step.

    The mean over clips is taken before the root. So `Comparison.value` gives squared errors, and `of_mean` takes the
    root.

    >>> true = torch.zeros(2, 3, 4)
    >>> Rmse().of_mean(Rmse().between(true + 0.5, true).mean(0))
    tensor([0.5000, 0.5000, 0.5000], dtype=torch.float64)
    """

    content = "series"
    key = "rmse"
    higher_is_better = False
    digits = 4

    def parts(self, root: Path | str | None, device: torch.device) -> Parts:
        """The functions that measure; see `Measure.parts`."""
        return Parts(Tensor.double, lambda predicted, true: (predicted - true).square().mean(-1))

    def check(self, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Check steps; see `Measure.check`."""
        if not isinstance(steps, Tensor) or steps.ndim != 3 or not steps.numel() or not steps.is_floating_point():
            what = f"{steps.dtype} {tuple(steps.shape)}" if isinstance(steps, Tensor) else type(steps).__name__
            raise ZooError(f"{what} cannot be measured as series; pass floating-point (batch, time, columns)")
        low, high = torch.aminmax(steps.detach())
        return low, high

    def check_pair(self, predicted: Features, true: Features) -> None:
        """Check that steps can be compared; see `Measure.check_pair`."""
        (clips, steps, *columns), (true_clips, true_steps, *true_columns) = predicted.shape, true.shape
        if (clips, columns) != (true_clips, true_columns) or steps not in (1, true_steps):
            raise ZooError(
                f"predicted series {predicted.shape} and true series {true.shape} differ in shape; pass both as "
                "(batch, time, columns), of equal size"
            )
        for which, extremes in (("predicted", predicted), ("true", true)):
            if not (extremes.low.isfinite() and extremes.high.isfinite()):
                raise ZooError(f"{which} series have values that are not finite; look for the cause of NaN or inf")

    def of_mean(self, mean: Tensor) -> Tensor:
        """The square root of the mean, and 0 for the lower end of an interval that would be negative."""
        return mean.clamp(min=0).sqrt()

    def text(self) -> str:
        """How the number is computed, to print below a table."""
        return "over all clips and columns, each scaled to [0, 1]"
