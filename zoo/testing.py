"""What every model must do, as one call for a model of your own."""

from collections.abc import Callable

import torch
from torch import Tensor

from zoo.errors import ZooError
from zoo.video_model import VideoModel

_NEAR = 1e-4  # between numbers that are computed in another order


def check_model(
    make: Callable[[], VideoModel], size: tuple[int, int] = (16, 16), observed: int = 3, horizon: int = 3
) -> None:
    """Raise an error that says which promise of `zoo.VideoModel` a model breaks; return if it keeps them all.

    It must predict frames of the right shape that are finite and the same each time, for each clip by itself, whatever
    the horizon; leave its inputs alone; refuse frames of other channels; have a loss from which every parameter gets a
    gradient; and predict the same after its weights were read back.

    Args:
        make: makes the model, as small as it may be.
        size: height and width of the frames to try it on.
        observed: T_in of these clips.
        horizon: frames to predict.

    Raises:
        ZooError: a promise that is broken.

    >>> import zoo
    >>> check_model(lambda: zoo.create_model("conv-lstm", hidden=(2,), layers=(1,), kernel=3))
    """
    model = make()
    _promise(isinstance(model, VideoModel), f"is a {type(model).__name__}, and no zoo.VideoModel")
    generator = torch.Generator().manual_seed(0)
    clips = torch.rand(2, observed + horizon, model.channels, *size, generator=generator)
    _check_predictions(model.eval(), clips[:, :observed].clone(), horizon)
    _check_training(model.train(), clips, observed)
    _check_weights(make, clips[:, :observed], horizon)


def _check_predictions(model: VideoModel, x: Tensor, horizon: int) -> None:
    observed, before = x.shape[1], x.clone()
    with torch.no_grad():
        predictions, again = model(x, horizon), model(x, horizon)
        alone, longer = model(x[:1], horizon), model(x, horizon + 2)
    counts = range(horizon, observed + horizon)
    frame = (x.shape[0], *x.shape[2:])
    shape = tuple(predictions.shape)
    fits = len(shape) == 5 and shape[1] in counts and (shape[0], *shape[2:]) == frame
    needed = f"({x.shape[0]}, T from {horizon} to {counts[-1]}, {', '.join(map(str, x.shape[2:]))})"
    _promise(fits, f"predicts frames of shape {shape}, and {needed} is needed for horizon {horizon}")
    _promise(bool(predictions.isfinite().all()), "predicts frames that are not finite")
    _promise(torch.equal(x, before), "changes the frames that it reads")
    _promise(torch.equal(predictions, again), "predicts other frames when asked again: it keeps a state, or draws")
    _promise(_near(alone, predictions[:1]), "predicts other frames for a clip when others are in the batch")
    ahead = longer[:, -(horizon + 2) : -2]
    _promise(_near(predictions[:, -horizon:], ahead), "predicts other frames when the horizon is longer")
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
    raise ZooError(f"the model reads frames of {wrong.shape[2]} channels; call self.check in forward")


def _check_training(model: VideoModel, clips: Tensor, observed: int) -> None:
    horizon = clips.shape[1] - observed
    use_truth = torch.zeros(len(clips), horizon - 1, dtype=torch.bool)
    use_truth[0] = True
    loss = model.loss(model(clips[:, :observed], horizon, clips[:, observed:], use_truth), clips)
    _promise(loss.dim() == 0 and bool(loss.isfinite()), f"has the loss {loss}, and a finite number is needed")
    model.zero_grad()
    loss.backward()
    dead = [name for name, parameter in model.named_parameters() if parameter.requires_grad and parameter.grad is None]
    _promise(not dead, f"has parameters that its loss gives no gradient: {', '.join(dead)}")


def _check_weights(make: Callable[[], VideoModel], x: Tensor, horizon: int) -> None:
    first, second = make().eval(), make().eval()
    weights = first.state_dict()
    try:
        second.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ZooError(f"the model has other weights each time that it is made: {reason}") from None
    with torch.no_grad():
        same = torch.equal(first(x, horizon), second(x, horizon))
    _promise(same, "predicts other frames after its weights were read back: not all of them are parameters or buffers")


def _near(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=_NEAR, atol=_NEAR)


def _promise(kept: bool, otherwise: str) -> None:
    if not kept:
        raise ZooError(f"the model {otherwise}")
