"""One call that tests whether a model of your own does what the zoo expects of every model."""

from collections.abc import Callable

import torch
from torch import Tensor

from zoo.errors import ZooError
from zoo.predictors.video_model import VideoModel, check_predicted_shape

_NEAR = 1e-4  # tolerance for numbers that are computed in another order


def check_model(
    make: Callable[[], VideoModel], size: tuple[int, int] = (16, 16), observed: int = 3, horizon: int = 3
) -> None:
    """Test whether a model does all that `zoo.VideoModel` requires. Returns if so, otherwise raises an error.

    The requirements are:

    - Predictions have the right shape, are finite, and are the same in each call.
    - The prediction of a clip depends neither on the other clips of the batch nor on the horizon.
    - The model does not change its inputs, and refuses frames with another number of channels.
    - Each parameter gets a gradient from the model's loss.
    - After its weights are loaded into a new model, that model makes the same predictions.

    Args:
        make: a function without arguments that makes the model, preferably a small one.
        size: height and width of the frames to test with.
        observed: the number of observed frames, T_in.
        horizon: the number of frames to predict.

    Raises:
        ZooError: if the model does not meet a requirement; the message says which.

    >>> import zoo
    >>> check_model(lambda: zoo.create_model("conv-lstm", hidden=(2,), layers=(1,), kernel=3))
    """
    model = make()
    _promise(isinstance(model, VideoModel), f"is a {type(model).__name__}, but must be a zoo.VideoModel")
    generator = torch.Generator().manual_seed(0)
    clips = torch.rand(2, observed + horizon, model.channels, *size, generator=generator)
    _check_predictions(model.eval(), clips[:, :observed].clone(), horizon)
    _check_training(model.train(), clips, observed)
    _check_weights(make, clips[:, :observed], horizon)


def _check_predictions(model: VideoModel, x: Tensor, horizon: int) -> None:
    before = x.clone()
    with torch.no_grad():
        predictions, again = model(x, horizon), model(x, horizon)
        alone, longer = model(x[:1], horizon), model(x, horizon + 2)
    check_predicted_shape(predictions, x, horizon)
    _promise(bool(predictions.isfinite().all()), "predicts frames that are not finite")
    _promise(torch.equal(x, before), "changes the frames that it reads")
    _promise(torch.equal(predictions, again), "predicts other frames in a second call: it keeps state, or is random")
    _promise(_near(alone, predictions[:1]), "predicts other frames for a clip if the batch holds other clips")
    ahead = longer[:, -(horizon + 2) : -2]
    _promise(_near(predictions[:, -horizon:], ahead), "predicts other frames if the horizon is longer")
    wrong = x.repeat(1, 1, 2, 1, 1)
    try:
        model(wrong, horizon)
    except ZooError:
        return
    except Exception as error:
        raise ZooError(
            f"the model raises {type(error).__name__} for frames of {wrong.shape[2]} channels; call self.check in "
            "forward, which raises a ZooError"
        ) from error
    raise ZooError(
        f"the model reads frames of {wrong.shape[2]} channels, which it must refuse; call self.check in forward"
    )


def _check_training(model: VideoModel, clips: Tensor, observed: int) -> None:
    horizon = clips.shape[1] - observed
    use_truth = torch.zeros(len(clips), horizon - 1, dtype=torch.bool)
    use_truth[0] = True
    loss = model.loss(model(clips[:, :observed], horizon, clips[:, observed:], use_truth), clips)
    _promise(loss.dim() == 0 and bool(loss.isfinite()), f"has the loss {loss}, but must have a finite number")
    model.zero_grad()
    loss.backward()
    dead = [name for name, parameter in model.named_parameters() if parameter.requires_grad and parameter.grad is None]
    _promise(not dead, f"has parameters without a gradient of its loss: {', '.join(dead)}")


def _check_weights(make: Callable[[], VideoModel], x: Tensor, horizon: int) -> None:
    first, second = make().eval(), make().eval()
    weights = first.state_dict()
    try:
        second.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ZooError(f"the model has other weights each time it is made: {reason}") from None
    with torch.no_grad():
        same = torch.equal(first(x, horizon), second(x, horizon))
    _promise(
        same, "predicts other frames after its weights were loaded; some of its tensors are not parameters or buffers"
    )


def _near(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=_NEAR, atol=_NEAR)


def _promise(kept: bool, otherwise: str) -> None:
    if not kept:
        raise ZooError(f"the model {otherwise}")
