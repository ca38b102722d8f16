"""Verify the errors of outputs that the file of a compressed network states, on the inputs of the compression."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any

from torch import Tensor, nn

from tensortrain.compression.analysis.network import Analysis, Measured, analyse
from tensortrain.compression.model import load
from tensortrain.compression.reports.findings import output_errors
from tensortrain.compression.state_dicts.records import read_changes, read_network
from tensortrain.errors import TensorTrainError

SLACK = 1e-3  # relative tolerance, since another number of threads may change an error


def verify_outputs(
    original: nn.Module, architecture: Callable[[], nn.Module], path: str | PathLike[str], inputs: Any
) -> tuple[int, Sequence[str]]:
    """Recompute the relative errors of the layers' outputs.

    Args:
        original: the network with its dense weights.
        architecture: a function that builds another network of this architecture.
        path: file of the compressed network.
        inputs: the inputs on which it was compressed, see `compress`.

    Returns:
        The number of errors that were recomputed, and sentences about those that are wrong.

    Raises:
        TensorTrainError: the file states no inputs, or an error of `load` or `compress`.
    """
    calibration, (_, records) = read_changes(path).calibration, read_network(path)
    if calibration is None:
        raise TensorTrainError(f"{path} was compressed without inputs, so there are no errors of outputs to check")
    analysis = _analysis(original, inputs, calibration)
    if analysis is None:
        return 0, [
            "the inputs are not those that the network was compressed on; pass the same inputs, in the same size"
        ]
    small = load(architecture().eval(), path)
    recorded = {record.name: record.data_error for record in records if record.data_error is not None}
    outputs = output_errors(analysis, {name: small.get_submodule(name) for name in recorded})
    measured = {name: errors.error for name, errors in outputs.items()}
    failures = [
        f"{name}: the error of its outputs is {measured[name]:.6g}, the file says {error:.6g}"
        for name, error in recorded.items()
        if abs(measured[name] - error) > SLACK * (error + SLACK)
    ]
    return len(recorded), failures


def _analysis(original: nn.Module, inputs: Any, calibration: Mapping[str, int | str]) -> Analysis | None:
    """Return the analysis on the inputs of the compression; None if these are other inputs.

    Whether batches were joined depended on the output that the compression selected, which the file does not name. So
    if the inputs seem to be others, they are joined if they were not, and the other way round.
    """
    first, second = [inputs, inputs] if isinstance(inputs, Tensor | Sequence) else itertools.tee(inputs)

    def analysis(values: Any, independent: bool | None) -> tuple[Analysis, Measured]:
        result = analyse(
            original, values, include=(), exclude=(), samples=int(calibration["samples"]), output=None, logits=None,
            seed=int(calibration.get("seed", 0)), tick=lambda stage, layer: None, independent=independent,
        )  # fmt: skip
        assert result.measured is not None
        return result, result.measured

    result, measured = analysis(first, None)
    if measured.digest != calibration["digest"]:
        try:
            result, measured = analysis(second, not measured.calibration.independent)
        except TensorTrainError:  # the network cannot run on such batches
            return None
    return result if measured.digest == calibration["digest"] else None
