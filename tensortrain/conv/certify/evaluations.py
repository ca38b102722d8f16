"""How far a computed evaluation of a chain is from eq. (5), exactly evaluated."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from tensortrain.conv.certify.intervals import Interval, gamma, norm_interval, relative_interval, scaled, times_power
from tensortrain.conv.certify.probe import BITS, convolutions, machine, sums_directly
from tensortrain.conv.functional import conv_tt
from tensortrain.errors import TensorTrainError


@dataclass(frozen=True)
class Evaluation:
    """An evaluation with padding "same" and what is certified of it.

    Attributes:
        inputs: `(B, R_m, *size)`.
        output: `(B, R_0, *size)`, as computed.
        error: its relative Frobenius distance from eq. (5), an interval.
        gamma: whatever is computed for inputs of this shape differs from eq. (5) by at most `gamma` times eq. (5) on
            absolute values, pixel by pixel, if nothing underflows (P10 of proofs/README.md).
        probe: where the probe for plain sums has passed, in words.
    """

    inputs: Tensor
    output: Tensor
    error: Interval
    gamma: float
    probe: str


def certify_evaluation(cores: Sequence[Tensor], inputs: Tensor) -> Evaluation:
    """Evaluate a chain on an input and certify the result.

    Args:
        cores: of an ordinary chain, float32 or float64.
        inputs: U(m), `(B, R_m, *size)`, in the dtype and on the device of the cores.

    Raises:
        TensorTrainError: another dtype; a convolution that does not pass the probe; an evaluation that is zero.
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
                    f" {tensor.dtype} does not sum plain products, so nothing bounds its rounding errors; on CUDA set"
                    " torch.backends.cudnn.enabled = False and torch.backends.cuda.matmul.allow_tf32 = False"
                )
    output, reference = _evaluate(cores, inputs), _evaluate(wide, x)
    sizes, exponent = scaled(_evaluate([core.abs() for core in wide], x.abs()))
    steps = sum(core[0].numel() + 3 for core in cores)  # an entry of the result is a sum over channels and taps
    near, exact = (times_power(x, -exponent) for x in (output.double(), reference))
    error = _error(near, exact, sizes, gamma(steps))
    probe = f"as a probe found on {machine(like.device)}"
    return Evaluation(inputs, output, error, gamma(steps, BITS[like.dtype]), probe)


def _evaluate(cores: Sequence[Tensor], x: Tensor) -> Tensor:
    return conv_tt(cores, [None] * (len(cores) - 1) + [x])


def _error(output: Tensor, reference: Tensor, sizes: Tensor, by: float) -> Interval:
    """Relative distance of an output from what `reference` is within `by · sizes` of, entry by entry."""
    low, high = norm_interval(reference)
    off = by * norm_interval(sizes)[1] * (1 + 2 * by)
    return relative_interval(output - reference, sizes, by, (low - off, high + off))
