"""Estimate the statistics of batch-norm layers again, on the inputs of a compressed network."""

from typing import Any

from torch import Tensor, nn

from tensortrain.compression.analysis.calibration import Calibration
from tensortrain.errors import TensorTrainError

GROSS = 3.0  # largest shift of a mean, in standard deviations; its square is the largest ratio of variances


def _layers(model: nn.Module) -> dict[str, Any]:
    """Return the batch-norm layers that keep statistics, by name."""
    bases = (nn.modules.batchnorm._BatchNorm,)
    return {n: m for n, m in model.named_modules() if isinstance(m, bases) and m.running_mean is not None}


def estimate(model: nn.Module, calibration: Calibration) -> dict[str, Tensor]:
    """Estimate the means and variances of the batch-norm layers on some inputs. The model is left as it was.

    The estimates are averages over all batches of a network that normalises each batch with the batch's own statistics.
    If that is impossible, because a layer has a single value for each channel, the present statistics of all layers are
    returned. A layer that the inputs do not reach, such as one that runs in training only, keeps its statistics.

    Args:
        model: the network.
        calibration: the inputs.

    Returns:
        The statistics, by their names in the `state_dict`.
    """
    layers = _layers(model)
    before = {name: (m.momentum, m.training) for name, m in layers.items()}
    kept = present(model)
    try:
        for layer in layers.values():
            layer.reset_running_stats()
            layer.momentum = None  # None stands for a cumulative average
            layer.train()
        for batch in calibration.chunks():
            calibration.run(model, batch, changing=set(layers.values()))
        unreached = {name: layer for name, layer in layers.items() if not layer.num_batches_tracked}
        return present(model) | {key: kept[key] for key in _statistics(unreached)}
    except TensorTrainError:  # a layer has one value for each channel, as with a single sample, and no variance
        return kept
    finally:
        for name, layer in layers.items():
            layer.momentum, training = before[name]
            layer.train(training)
        install(model, kept)


def present(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the current statistics of the batch-norm layers."""
    return {key: value.clone() for key, value in _statistics(_layers(model)).items()}


def install(model: nn.Module, statistics: dict[str, Tensor]) -> None:
    """Set the statistics of the batch-norm layers."""
    for key, value in _statistics(_layers(model)).items():
        value.copy_(statistics[key])


def _statistics(layers: dict[str, Any]) -> dict[str, Tensor]:
    names = ("running_mean", "running_var", "num_batches_tracked")
    return {f"{name}.{part}" if name else part: getattr(m, part) for name, m in layers.items() for part in names}


def gross_deviation(model: nn.Module, estimated: dict[str, Tensor]) -> str | None:
    """Describe the first batch-norm layer whose inputs are unlike those in training; None if there is none.

    Args:
        model: the network, with the statistics of its training.
        estimated: the statistics from `estimate`.
    """
    for name, layer in _layers(model).items():
        prefix = f"{name}." if name else ""
        mean, variance = estimated[f"{prefix}running_mean"], estimated[f"{prefix}running_var"]
        deviation = (layer.running_var + layer.eps).sqrt()
        shift = float(((mean - layer.running_mean).abs() / deviation).median())
        ratio = float(((variance + layer.eps) / (layer.running_var + layer.eps)).log().abs().median().exp())
        if shift > GROSS or ratio > GROSS**2:
            return (
                f"at {name or 'the model'} the mean is off by {shift:.1f} standard deviations, and the variance by a"
                f" factor of {ratio:.1f}"
            )
    return None
