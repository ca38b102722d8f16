"""The base class of video models: they take observed frames and return predicted frames, and define a loss."""

from abc import abstractmethod
from typing import Any

from torch import Tensor

from zoo.errors import ZooError
from zoo.predictors.losses import frame_loss
from zoo.predictors.normalization import Normalization
from zoo.predictors.predictor import Predictor, check_precision, check_rollout, check_tensor


class VideoModel(Predictor):
    """Predicts the frames that follow the observed ones of a clip.

    A subclass defines `forward`. It also overrides `loss` if it is trained by anything but the error of its frames.
    A recurrent model should derive from `zoo.RecurrentPredictor`, which provides the rollout.

    Args:
        channels: C of the frames: 1 for grey, 3 for RGB.
        patch: side of the blocks of pixels that become channels before the first layer.
        multiple: height and width must be multiples of this number; by default `patch`. A network that halves the
            size of its maps needs a larger one.

    Attributes:
        normalization: how frames are normalised before the model reads them, by the settings `data.mean` and
            `data.std`; None if they are not. See `normalized`.

    Raises:
        ZooError: if an argument is below 1.

    A model that predicts only the frames of the horizon, here as copies of the last frame:

    >>> import torch
    >>> class Still(VideoModel):
    ...     def forward(self, x, horizon, truth=None, use_truth=None):
    ...         self.check(x, horizon, truth, use_truth)
    ...         return x[:, -1:].expand(-1, horizon, -1, -1, -1)
    >>> clips = torch.rand(2, 5, 1, 8, 8)
    >>> model = Still()
    >>> predictions = model(clips[:, :3], horizon=2)
    >>> predictions.shape
    torch.Size([2, 2, 1, 8, 8])
    >>> bool(model.loss(predictions, clips) == frame_loss(predictions, clips[:, 3:]))
    True
    """

    def __init__(self, channels: int = 1, patch: int = 1, multiple: int | None = None) -> None:
        super().__init__()
        multiple = patch if multiple is None else multiple
        for name, value in (("channels", channels), ("patch", patch), ("multiple", multiple)):
            if value < 1:
                raise ZooError(f"{name} = {value} must be at least 1")
        self.channels, self.patch = channels, patch
        self.multiple = multiple
        self.normalization: Normalization | None = None

    def normalized(self, frames: Tensor) -> Tensor:
        """Convert frames in [0, 1], patched or not, to what the network reads and predicts.

        Inputs and predictions are converted outside `forward`. So a network that makes frames in [0, 1], such as by a
        sigmoid, calls this; otherwise a prediction could reach only the values from `mean` to `mean + std`.
        """
        return frames if self.normalization is None else self.normalization(frames)

    def denormalized(self, frames: Tensor) -> Tensor:
        """Undo `normalized`."""
        return frames if self.normalization is None else self.normalization.undo(frames)

    @abstractmethod
    def forward(self, x: Tensor, horizon: int, truth: Tensor | None = None, use_truth: Tensor | None = None) -> Tensor:
        """Predict the `horizon` frames that follow x.

        Args:
            x: observed frames `(B, T_in, C, H, W)` with values in [0, 1].
            horizon: the number of frames to predict after x, at least 1.
            truth: in training, the true frames after x, `(B, ≥ horizon - 1, C, H, W)`.
            use_truth: the mask of scheduled sampling, bool: True where the model reads the true frame, False where it
                reads its own prediction. Its shape is `(B, horizon - 1)` for the frames after x, or
                `(B, T_in + horizon - 2)` for all frames but the first (reverse scheduled sampling). A model that does
                not read its own predictions ignores `truth` and `use_truth`.

        Returns:
            In evaluation mode, predicted frames `(B, T, C, H, W)` with T ≥ horizon. The last `horizon` frames follow x.
            Frames before these are predictions of observed frames: a recurrent model predicts every observed frame but
            the first. A model that predicts no observed frame returns T = horizon.
            In training mode, the model may return whatever its `loss` takes, such as a distribution of pixel values.
        """

    def loss(
        self,
        predictions: Tensor,
        clips: Tensor,
        l1: float = 1.0,
        l2: float = 1.0,
        cross_entropy: float = 0.0,
        gradient: float = 0.0,
    ) -> Tensor:
        """The loss that training minimises and validation reports. By default it is the error of all predicted frames.

        Args:
            predictions: what `forward` returned for the first frames of the clips, in the model's current mode.
            clips: all true frames, the observed ones included, `(B, T_in + horizon, C, H, W)`. The default loss
                compares the predictions with the last frames of the clips.
            l1: weight of the mean absolute error, the setting `training.l1`.
            l2: weight of the mean squared error, the setting `training.l2`.
            cross_entropy: weight of the cross-entropy, the setting `training.cross_entropy`.
            gradient: weight of the gradient difference, the setting `training.gradient`.

        Returns:
            A scalar. A model with its own loss may add terms to it, or ignore the weights.

        Raises:
            ZooError: if the clips have fewer frames than the predictions, or frames of another shape.
        """
        return frame_loss(predictions, clips[:, -predictions.shape[1] :], l1, l2, cross_entropy, gradient)

    def check(self, x: Tensor, horizon: int, truth: Tensor | None = None, use_truth: Tensor | None = None) -> None:
        """Raise a ZooError unless `forward` can take these arguments."""
        check_tensor(x)
        if x.dim() != 5 or x.shape[1] < 1 or x.shape[2] != self.channels:
            raise ZooError(f"x has shape {tuple(x.shape)}, but must be (B, T_in ≥ 1, {self.channels}, H, W)")
        self.check_size(x.shape[3], x.shape[4])
        check_rollout(x, horizon, truth, use_truth)
        check_precision(self, x)

    def check_size(self, height: int, width: int) -> None:
        """Raise a ZooError unless the model can read frames of this size."""
        if height % self.multiple or width % self.multiple:
            raise ZooError(
                f"frames of {height}×{width} pixels cannot be divided into blocks of {self.multiple}×{self.multiple}; "
                "choose another size, or another patch if the model has that option"
            )


def check_predicted_shape(predictions: Any, x: Tensor, horizon: int) -> None:
    """Raise a ZooError unless a model returned predictions of the right shape. It looks at shapes only.

    Errors of a wrong shape could be computed all the same, as torch would repeat a single frame or pixel.

    Args:
        predictions: what `forward` returned: `(B, T, …)` with horizon ≤ T < T_in + horizon.
        x: the observed steps `(B, T_in, …)`.
        horizon: the number of steps to predict after x.
    """
    counts, (batch, *step) = range(horizon, x.shape[1] + horizon), (x.shape[0], *x.shape[2:])
    if isinstance(predictions, Tensor):
        shape = tuple(predictions.shape)
        if len(shape) == x.dim() and shape[1] in counts and (shape[0], *shape[2:]) == (batch, *step):
            return
        returned = f"predicts {'frames' if x.dim() == 5 else 'steps'} of shape {shape}"
    else:
        returned = f"returns a {type(predictions).__name__}"
    needed = f"({batch}, T from {horizon} to {counts[-1]}, {', '.join(map(str, step))})"
    raise ZooError(f"the model {returned}, but horizon {horizon} needs {needed}; correct its forward")
