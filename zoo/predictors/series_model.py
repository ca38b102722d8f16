"""The base class of models of series: they take observed values and return predicted values, and define a loss."""

from torch import Tensor

from zoo.errors import ZooError
from zoo.predictors.losses import mean_error
from zoo.predictors.predictor import Predictor, check_precision, check_rollout, check_tensor


class SeriesModel(Predictor):
    """Predicts the values that follow the observed ones of a series.

    A subclass defines `forward`, which takes and returns tensors `(B, T, d)`. The data sets scale each column to
    roughly [0, 1].

    Args:
        columns: d, the number of values in a step.

    Raises:
        ZooError: if `columns` is below 1.

    A model that predicts that nothing changes:

    >>> import torch
    >>> class Still(SeriesModel):
    ...     def forward(self, x, horizon, truth=None, use_truth=None):
    ...         self.check(x, horizon, truth, use_truth)
    ...         return x[:, -1:].expand(-1, horizon, -1)
    >>> Still(columns=3)(torch.rand(2, 5, 3), horizon=4).shape
    torch.Size([2, 4, 3])
    """

    def __init__(self, columns: int) -> None:
        super().__init__()
        if columns < 1:
            raise ZooError(f"columns = {columns} must be at least 1")
        self.columns = columns

    def loss(
        self,
        predictions: Tensor,
        clips: Tensor,
        l1: float = 1.0,
        l2: float = 1.0,
        cross_entropy: float = 0.0,
        gradient: float = 0.0,
    ) -> Tensor:
        """The error of all predicted values, compared with the last steps of the clips. See `Predictor.loss`.

        Raises:
            ZooError: if a loss that is defined only for frames has a weight other than 0.
        """
        for name, weight in (("cross_entropy", cross_entropy), ("gradient", gradient)):
            if weight:
                raise ZooError(f"{name} = {weight}: this loss is defined for frames, not for series; leave it at 0")
        return mean_error(predictions, clips[:, -predictions.shape[1] :], l1, l2)

    def check(self, x: Tensor, horizon: int, truth: Tensor | None = None, use_truth: Tensor | None = None) -> None:
        """Raise a ZooError unless `forward` can take these arguments."""
        check_tensor(x)
        if x.dim() != 3 or x.shape[1] < 1 or x.shape[2] != self.columns:
            raise ZooError(f"x has shape {tuple(x.shape)}, but must be (B, T_in ≥ 1, {self.columns})")
        check_rollout(x, horizon, truth, use_truth)
        check_precision(self, x)
