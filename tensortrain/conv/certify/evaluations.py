"""Bound the distance of a computed evaluation of a chain from the exact value of eq. (5)."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from tensortrain.conv.certify.intervals import Interval, gamma, norm_interval, relative_interval, scaled, times_power
from tensortrain.conv.certify.probe import BITS, convolutions, machine, sums_directly
from tensortrain.conv.functional import conv_tt
from tensortrain.errors import TensorTrainError


@dataclass(frozen=True)
class Evaluation:
    """An evaluation with padding "same" and its certified error.

    Attributes:
        inputs: the inputs, `(B, R_m, *size)`.
        output: the computed output, `(B, R_0, *size)`.
        error: an interval that contains its relative Frobenius distance from eq. (5).
        gamma: for inputs of this shape, each computed pixel differs from eq. (5) by at most `gamma` times eq. (5) with
            absolute values, if nothing underflows (P10 of proofs/README.md).
        probe: a text that says on which machine the probe for plain sums succeeded.
    """

    inputs: Tensor
    output: Tensor
    error: Interval
    gamma: float
    probe: str


def certify_evaluation(cores: Sequence[Tensor], inputs: Tensor) -> Evaluation:
    """Evaluate a chain on an input and certify the result.

    Args:
        cores: the cores of an ordinary chain, in float32 or float64.
        inputs: the input U(m), `(B, R_m, *size)`, with the dtype and device of the cores.

    Raises:
        TensorTrainError: the dtype is neither float32 nor float64, a convolution does not pass the probe, or the
            evaluation is zero.
    """
    like = cores[0]
    if like.dtype not in BITS:
        raise TensorTrainError(f"an evaluation in {like.dtype} cannot be certified; use chain.to(torch.float32)")
    wide, x = [core.double() for core in cores], inputs.double()
    for call in convolutions(lambda: _evaluate(cores, inputs)):
        for tensor in (like, wide[0]):
            if not sums_directly(call, tensor):
                raise TensorTrainError(
                    f"on {machine(like.device)} a convolution of {call.shapes[0]} with {call.shapes[1]} in"
                    f" {tensor.dtype} does not sum plain products, so its rounding errors have no bound; on CUDA set"
                    " torch.backends.cudnn.enabled = False and torch.backends.cuda.matmul.allow_tf32 = False"
                )
    output, reference = _evaluate(cores, inputs), _evaluate(wide, x)
    sizes, exponent = scaled(_evaluate([core.abs() for core in wide], x.abs()))
    steps = sum(core[0].numel() + 3 for core in cores)  # an entry of a result is a sum over channels and positions
    near, exact = (times_power(x, -exponent) for x in (output.double(), reference))
    error = _error(near, exact, sizes, gamma(steps))
    probe = f"as a probe found on {machine(like.device)}"
    return Evaluation(inputs, output, error, gamma(steps, BITS[like.dtype]), probe)


def _evaluate(cores: Sequence[Tensor], x: Tensor) -> Tensor:
    """Return the evaluation of a chain whose only input is U(m)."""
    return conv_tt(cores, [None] * (len(cores) - 1) + [x])


def _error(output: Tensor, reference: Tensor, sizes: Tensor, by: float) -> Interval:
    """Return the relative distance of an output from a tensor that is entrywise within `by · sizes` of `reference`."""
    low, high = norm_interval(reference)
    off = by * norm_interval(sizes)[1] * (1 + 2 * by)
    return relative_interval(output - reference, sizes, by, (low - off, high + off))
