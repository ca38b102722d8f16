"""The device to compute on outside of training, where Fabric chooses it."""

import torch

from tensortrain import checks
from tensortrain.errors import TensorTrainError
from zoo.errors import ZooError


def find_device(device: torch.device | str | None, default: torch.device) -> torch.device:
    """The device that a user named, or a default if it is None.

    Raises:
        ZooError: if this machine has no such device, or it computes nothing.

    >>> find_device(None, torch.device("cpu")), find_device("cpu", torch.device("meta"))
    (device(type='cpu'), device(type='cpu'))
    """
    if device is None:
        return default
    try:
        place = checks.device(device)
    except TensorTrainError as error:
        raise ZooError(f"{error}; name one that torch finds here, such as cpu") from None
    assert place is not None
    if place.type == "meta":
        raise ZooError("device = 'meta' computes nothing; name cpu or a GPU")
    return place
