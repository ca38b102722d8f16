"""The evaluation of standard tensor trains as functions of plain tensors.

| paper | here |
|---|---|
| T(l), l = 1 … m, of eq. (1) | `cores[l - 1]`, `(R_{l-1}, I_l, R_l)` |
| u(l), l = 1 … m, of eq. (2) and (3) | `inputs[l - 1]`, `(B, I_l)` |
| v(l) of eq. (3) | the intermediate value of `tt_evaluate` after core l, `(B, R_0, R_l)` |
| T of eq. (1) | `tt_reconstruct(cores)` |
"""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tensortrain import checks
from tensortrain.errors import TensorTrainError
from tensortrain.precision import precise


def tt_evaluate(cores: Sequence[Tensor], inputs: Sequence[Tensor]) -> Tensor:
    """Contract a tensor train with one vector for each axis, core by core, without forming the dense tensor T.

    Eq. (3) of the Conv-TT-LSTM paper: `v(0) = 1`,
    `v(l)[r_l] = Σ_{i_l} Σ_{r_{l-1}} T(l)[r_{l-1}, i_l, r_l] v(l-1)[r_{l-1}] u(l)[i_l]`, and the result is
    v(m). With boundary ranks above 1, v(0) is the identity of size R_0.

    Args:
        cores: the cores, `(R_{l-1}, I_l, R_l)`.
        inputs: the vectors u(l), each `(B, I_l)`, or `(I_l,)` for a vector that all samples of the batch share.

    Returns:
        v(m), `(B, R_0, R_m)`. If both boundary ranks are 1, their axes are dropped. If no input has a batch axis, the
        result has none.

    Raises:
        TensorTrainError: the cores do not form a train, or the inputs do not fit them.

    Complexity: `Σ_l R_{l-1} I_l R_l + R_0 Σ_{l ≥ 2} R_{l-1} R_l` multiplications for each sample, which is linear in
    the order m. Eq. (2) needs more than `Π_l I_l`.

    >>> cores = [torch.ones(1, 2, 3), torch.ones(3, 4, 1)]
    >>> tt_evaluate(cores, [torch.ones(5, 2), torch.ones(5, 4)])
    tensor([24., 24., 24., 24., 24.])
    """
    cores, batched = check_inputs(cores, inputs)
    value: Tensor | None = None
    for core, u in zip(cores, inputs, strict=True):
        step = torch.tensordot(u.to(core.dtype), core, ([-1], [1]))  # the dtypes can differ only under autocast
        value = step if value is None else value @ step
    assert value is not None
    if value.shape[-2:] == (1, 1):
        value = value.flatten(-3) if batched else value.reshape(())
    return value


def tt_evaluate_dense(cores: Sequence[Tensor], inputs: Sequence[Tensor]) -> Tensor:
    """Evaluate eq. (2), `v = Σ T[i_1, …, i_m] u(1)[i_1] ⋯ u(m)[i_m]`, from the dense tensor.

    Arguments, result and errors are those of `tt_evaluate`. A T that is larger than the memory is an error too.

    Complexity: `R_0 R_m Σ_l I_1 ⋯ I_l` multiplications for each sample, in addition to the reconstruction of T.

    >>> cores = [torch.ones(1, 2, 3), torch.ones(3, 4, 1)]
    >>> tt_evaluate_dense(cores, [torch.ones(2), torch.ones(4)])
    tensor(24.)
    """
    cores, batched = check_inputs(cores, inputs)
    left, right = cores[0].shape[0], cores[-1].shape[2]
    # axes that are not contracted yet are kept as one, because torch calculates with at most 64 axes
    value = tt_reconstruct(cores).reshape(1, -1, right)
    for u in reversed(inputs):
        value = value.reshape(len(value), -1, u.shape[-1], right)
        value = torch.einsum("bpir,bi->bpr", value, u.to(value.dtype).reshape(-1, u.shape[-1]))
    if left * right == 1:
        value = value.reshape(-1)
    return value if batched else value[0]


def _check_chain(cores: object, axes: int) -> tuple[Tensor, ...]:
    """Return the cores, with the ranks as first and last axes and `axes` axes between them, if they form a train.

    The numbers are not checked, because these functions also run in the forward passes of networks.
    """
    chain = checks.listed("cores", cores)
    if not chain:
        raise TensorTrainError("cores is empty; at least one core is needed")
    for l, core in enumerate(chain):
        checks.ordinary(f"cores[{l}]", core)
        if not isinstance(core, Tensor) or core.dim() != axes + 2 or core.numel() == 0:
            shape = tuple(core.shape) if isinstance(core, Tensor) else type(core).__name__
            raise TensorTrainError(
                f"cores[{l}] is {shape}; a tensor (R_{l}, {axes} axes of at least 1, R_{l + 1}) is needed"
            )
        checks.agrees(f"cores[{l}]", core, chain[0])
        if l and core.shape[0] != chain[l - 1].shape[-1]:
            raise TensorTrainError(
                f"cores[{l}] begins with rank {core.shape[0]}, cores[{l - 1}] ends with {chain[l - 1].shape[-1]};"
                " neighbours must share their rank"
            )
    return chain


def check_inputs(cores: object, inputs: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], bool]:
    """Return the cores if they form a train and the inputs fit them, and whether any input has a batch axis."""
    cores = _check_chain(cores, 1)
    if not isinstance(inputs, Sequence) or len(inputs) != len(cores):
        count = (
            f"{len(inputs)} entries"
            if isinstance(inputs, Sequence)
            else "one tensor"
            if isinstance(inputs, Tensor)
            else f"the type {type(inputs).__name__}"
        )
        raise TensorTrainError(f"inputs has {count} for {len(cores)} cores; a list with a vector for each is needed")
    batches: list[int] = []  # a set would fix the size of a batch in an export
    for l, (core, u) in enumerate(zip(cores, inputs, strict=True)):
        checks.ordinary(f"inputs[{l}]", u)
        shape = tuple(u.shape) if isinstance(u, Tensor) else type(u).__name__
        if not isinstance(u, Tensor) or u.dim() not in (1, 2) or u.shape[-1] != core.shape[1]:
            raise TensorTrainError(f"inputs[{l}] is {shape}; (batch, {core.shape[1]}) or ({core.shape[1]},) is needed")
        checks.agrees(f"inputs[{l}]", u, core)
        if u.dim() == 2 and u.shape[0] not in batches:
            batches.append(u.shape[0])
    if len(batches) > 1:
        raise TensorTrainError(f"inputs have batch sizes {sorted(batches)}; all inputs with a batch axis must agree")
    return cores, bool(batches)


def evaluate_macs(shape: Sequence[int], ranks: Sequence[int]) -> int:
    """Return the number of multiplications of `tt_evaluate` for one sample; `ranks` are R_0 … R_m.

    >>> evaluate_macs((2, 4), (1, 3, 1))   # 1·2·3 + 3·4·1, then 1·3·1 for v(1) v(2)
    21
    """
    pairs = list(itertools.pairwise(ranks))
    contracted = sum(left * size * right for (left, right), size in zip(pairs, shape, strict=True))
    return contracted + ranks[0] * sum(left * right for left, right in pairs[1:])


def dense_evaluate_macs(shape: Sequence[int], ranks: Sequence[int]) -> int:
    """Return the number of multiplications of eq. (2) for one sample, `R_0 R_m Σ_l Π_{j ≤ l} I_j`.

    T is contracted with one vector u(l) after the other, beginning with the last.

    >>> dense_evaluate_macs((2, 4), (1, 3, 1))   # 2·4, then 2
    10
    """
    return ranks[0] * ranks[-1] * sum(math.prod(shape[: l + 1]) for l in range(len(shape)))


@precise
def tt_reconstruct(cores: Sequence[Tensor]) -> Tensor:
    """Return the dense tensor of eq. (1), `(R_0, I_1, …, I_m, R_m)`, or `(I_1, …, I_m)` if both boundary ranks are 1.

    Two halves are computed from both ends of the train and multiplied at the bond where that is cheapest.

    Args:
        cores: the cores, `(R_{l-1}, I_l, R_l)`.

    Raises:
        TensorTrainError: the cores do not form a train, or the dense tensor is larger than the memory of the machine.

    >>> tt_reconstruct([torch.ones(1, 2, 3), torch.ones(3, 4, 1)]).shape
    torch.Size([2, 4])
    """
    cores = _check_chain(cores, 1)
    shape = [core.shape[1] for core in cores]
    ranks = [core.shape[0] for core in cores] + [cores[-1].shape[2]]
    checks.fits_in_memory("the dense tensor", ranks[0] * math.prod(shape) * ranks[-1], cores[0])
    bond = min(range(1, len(cores)), key=lambda b: _reconstruct_macs(shape, ranks, b), default=1)
    left = cores[0].reshape(-1, ranks[1])
    for core in cores[1:bond]:
        left = (left @ core.reshape(core.shape[0], -1)).reshape(-1, core.shape[2])
    if len(cores) == 1:
        dense = left.clone()  # the only core must not change with the result
    else:
        right = cores[-1].reshape(ranks[-2], -1)
        for core in reversed(cores[bond:-1]):
            right = (core.reshape(-1, core.shape[2]) @ right).reshape(core.shape[0], -1)
        dense = left @ right
    ends = ranks[0], ranks[-1]
    return dense.reshape(shape if ends == (1, 1) else (ends[0], *shape, ends[1]))


def _reconstruct_macs(shape: Sequence[int], ranks: Sequence[int], bond: int) -> int:
    """Return the number of multiplications for computing two halves that meet at `bond`, and their product."""
    total, left = 0, ranks[0] * shape[0]
    for l in range(1, bond):
        left *= shape[l]
        total += left * ranks[l] * ranks[l + 1]
    right = shape[-1] * ranks[-1]
    for l in range(len(shape) - 2, bond - 1, -1):
        right *= shape[l]
        total += right * ranks[l] * ranks[l + 1]
    return total + left * ranks[bond] * right


def tt_matvec(cores: Sequence[Tensor], columns: Tensor) -> Tensor:
    """Multiply a TT-matrix with the columns of a matrix, core by core, without forming the dense matrix.

    The method is described in section 4 of Novikov et al. (2015).

    Args:
        cores: the cores, `(R_{l-1}, O_l, I_l, R_l)` with R_0 = R_m = 1.
        columns: the matrix, `(I_1 ⋯ I_m, B)`.

    Returns:
        The product, `(O_1 ⋯ O_m, B)`.

    Raises:
        TensorTrainError: the cores do not form a TT-matrix, or the columns do not fit it.

    Complexity: `B Σ_l (O_1 ⋯ O_l) R_{l-1} R_l (I_l ⋯ I_m)` multiplications. The dense matrix needs `B Π_l O_l I_l`.

    >>> tt_matvec([torch.ones(1, 2, 3, 4), torch.ones(4, 5, 2, 1)], torch.ones(6, 1)).shape
    torch.Size([10, 1])
    """
    cores = _check_chain(cores, 2)
    if cores[0].shape[0] != 1 or cores[-1].shape[3] != 1:
        raise TensorTrainError(
            f"cores have boundary ranks {(cores[0].shape[0], cores[-1].shape[3])}; R_0 = R_m = 1 is needed"
        )
    checks.ordinary("columns", columns)
    rows = math.prod(core.shape[2] for core in cores)
    if not isinstance(columns, Tensor) or columns.dim() != 2 or columns.shape[0] != rows:
        shape = tuple(columns.shape) if isinstance(columns, Tensor) else type(columns).__name__
        raise TensorTrainError(f"columns is {shape}; a matrix ({rows}, columns) is needed")
    checks.agrees("columns", columns, cores[0])
    value = columns  # after step l the rows stand for O_1 … O_l, R_l, I_{l+1} … I_m
    done, batch = 1, columns.shape[1]
    for core in cores:
        left, out, size, right = core.shape
        step = core.permute(1, 3, 0, 2).reshape(out * right, left * size)
        value = step @ value.reshape(done, left * size, -1)
        done *= out
    return value.reshape(done, batch)


def matvec_macs(out_shape: Sequence[int], in_shape: Sequence[int], ranks: Sequence[int]) -> int:
    """Return the number of multiplications of `tt_matvec` for one column.

    >>> matvec_macs((2, 5), (3, 2), (1, 4, 1))   # 2·1·4·6 + 10·4·1·2
    128
    """
    steps = range(len(in_shape))
    return sum(math.prod(out_shape[: l + 1]) * ranks[l] * ranks[l + 1] * math.prod(in_shape[l:]) for l in steps)
