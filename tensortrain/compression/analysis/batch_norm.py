"""Statistics of batch-norm layers, estimated anew on the inputs of a compressed network."""

from typing import Any

from torch import Tensor, nn

from tensortrain.compression.analysis.calibration import Calibration

GROSS = 3.0  # standard deviations, or factor of the variance, by which inputs differ grossly from the training data


def _layers(model: nn.Module) -> dict[str, Any]:
    """The batch-norm layers that keep statistics, by name."""
    bases = (nn.modules.batchnorm._BatchNorm,)
    return {n: m for n, m in model.named_modules() if isinstance(m, bases) and m.running_mean is not None}


def estimate(model: nn.Module, calibration: Calibration) -> dict[str, Tensor]:
    """Means and variances of the batch-norm layers on these inputs, by their names in the `state_dict`.

    They are averages over all batches of a network that normalises with each batch's own statistics. The model is
    left as it was.
    """
    layers = _layers(model)
    before = {name: (m.momentum, m.training) for name, m in layers.items()}
    kept = present(model)
    try:
        for layer in layers.values():
            layer.reset_running_stats()
            layer.momentum = None  # a cumulative average
            layer.train()
        for batch in calibration.chunks():
            calibration.run(model, batch)
        return present(model)
    finally:
        for name, layer in layers.items():
            layer.momentum, training = before[name]
            layer.train(training)
        install(model, kept)


def present(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the statistics that the batch-norm layers have."""
    return {key: value.clone() for key, value in _statistics(_layers(model)).items()}


def install(model: nn.Module, statistics: dict[str, Tensor]) -> None:
    """Give the batch-norm layers other statistics."""
    for key, value in _statistics(_layers(model)).items():
        value.copy_(statistics[key])


def _statistics(layers: dict[str, Any]) -> dict[str, Tensor]:
    names = ("running_mean", "running_var", "num_batches_tracked")
    return {f"{name}.{part}" if name else part: getattr(m, part) for name, m in layers.items() for part in names}


def gross_deviation(model: nn.Module, estimated: dict[str, Tensor]) -> str | None:
    """The first batch-norm layer whose inputs are unlike those that it was trained on, in words; None if none is."""
    for name, layer in _layers(model).items():
        prefix = f"{name}." if name else ""
        mean, variance = estimated[f"{prefix}running_mean"], estimated[f"{prefix}running_var"]
        deviation = (layer.running_var + layer.eps).sqrt()
        shift = float(((mean - layer.running_mean).abs() / deviation).median())
        ratio = float(((variance + layer.eps) / (layer.running_var + layer.eps)).log().abs().median().exp())
        if shift > GROSS or ratio > GROSS**2:
            return (
                f"{name or 'the model'}: the inputs' mean is {shift:.1f} standard deviations off, their variance"
                f" by a factor of {ratio:.1f}"
            )
    return None
