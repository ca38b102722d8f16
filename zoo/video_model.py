"""What every model of video promises: frames in, predicted frames out, and the loss that it is trained by."""

from abc import abstractmethod

from torch import Tensor

from zoo.errors import ZooError
from zoo.losses import frame_loss
from zoo.predictor import Predictor, check_rollout


class VideoModel(Predictor):
    """Predicts the frames that follow the observed ones of a clip.

    A subclass defines `forward`. It overrides `loss` if it is trained by anything but the error of its frames.
    A recurrent model derives from `zoo.RecurrentPredictor` instead, which has the rollout.

    Args:
        channels: C of the frames it reads, 1 for grey and 3 for RGB.
        patch: side of the pixel blocks that become channels before its first layer.
        multiple: its frames' height and width must be multiples of this; by default `patch`. A network that halves its
            maps needs more.

    Raises:
        ZooError: an argument below 1.

    A model that predicts nothing but the horizon, here that nothing moves:

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
        for name, value in (("channels", channels), ("patch", patch)):
            if value < 1:
                raise ZooError(f"{name} = {value} must be at least 1")
        self.channels, self.patch = channels, patch
        self.multiple = patch if multiple is None else multiple

    @abstractmethod
    def forward(self, x: Tensor, horizon: int, truth: Tensor | None = None, use_truth: Tensor | None = None) -> Tensor:
        """Predict the `horizon` frames that follow x.

        Args:
            x: observed frames `(B, T_in, C, H, W)` in [0, 1].
            horizon: frames to predict beyond them, at least 1.
            truth: the true frames beyond x, `(B, ≥ horizon - 1, C, H, W)`, in training.
            use_truth: for scheduled sampling, whether a step reads the true frame or the model's own prediction, bool
                `(B, horizon - 1)` for the frames beyond x, or `(B, T_in + horizon - 2)` for all frames but the first
                (reverse scheduled sampling). A model that does not read its own predictions ignores both.

        Returns:
            In evaluation mode predicted frames `(B, T, C, H, W)`, T ≥ horizon. The last `horizon` of them are the
            frames after x. Any before those are predictions of observed frames: a recurrent model predicts each of
            these but the first from the frames before it; a model that predicts none returns T = horizon and does not
            fill them in. In training mode it may return whatever its `loss` takes, such as a distribution over pixel
            values.
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
        """What training minimises and validation reports: by default the error of all frames that were predicted.

        Args:
            predictions: what `forward` returned for the first frames of the clips, in the mode that the model is in.
            clips: the true frames, the observed ones included, `(B, T_in + horizon, C, H, W)`. The default compares
                predictions with as many frames at their end.
            l1: weight of the mean absolute error, the setting `training.l1`.
            l2: weight of the mean squared error, the setting `training.l2`.
            cross_entropy: weight of the cross-entropy, the setting `training.cross_entropy`.
            gradient: weight of the gradient difference, the setting `training.gradient`.

        Returns:
            A scalar. A model with a loss of its own may add further terms to it, or ignore the weights.
        """
        return frame_loss(predictions, clips[:, -predictions.shape[1] :], l1, l2, cross_entropy, gradient)

    def check(self, x: Tensor, horizon: int, truth: Tensor | None = None, use_truth: Tensor | None = None) -> None:
        """Raise a ZooError unless these are arguments that `forward` can take."""
        if x.dim() != 5 or x.shape[1] < 1 or x.shape[2] != self.channels:
            raise ZooError(f"x has shape {tuple(x.shape)}; (B, T_in ≥ 1, {self.channels}, H, W) is needed")
        self.check_size(x.shape[3], x.shape[4])
        check_rollout(x, horizon, truth, use_truth)

    def check_size(self, height: int, width: int) -> None:
        """Raise a ZooError unless the model reads frames of this size."""
        if height % self.multiple or width % self.multiple:
            raise ZooError(
                f"frames of {height}×{width} pixels do not divide into blocks of {self.multiple}×{self.multiple}; "
                "choose another size, or another patch if the model has that option"
            )
