"""Axes of trains, exactly on integers, as of the dense tensor: looked up, summed, contracted, reordered, joined."""

import itertools
import math
from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tensortrain.tt.tensor_train import TensorTrain
from tests.support.bad_input import check, table
from tests.support.trains import F64, full, integer_train, integer_trains, integers

SHAPE = (3, 4, 2, 5)
TRAIN = integer_train(SHAPE, (1, 2, 3, 2, 1))
DENSE = TRAIN.reconstruct()


def tensor(result: Any) -> Tensor:
    """The dense tensor of what an operation returns, with both boundary axes if there are any."""
    return full(result) if isinstance(result, TensorTrain) else result


def without_ends(train: TensorTrain, dense: Tensor) -> Tensor:
    """A dense tensor as operations return it that leave no axis."""
    return dense[0, ..., 0] if train.ranks[0] == train.ranks[-1] == 1 else dense


# ---- looking up


@given(integer_trains(), st.lists(st.integers(0, 3), max_size=2), st.integers(0, 99))
def test_tensors_of_integers_are_looked_up_together(train: TensorTrain, batch: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    index = tuple(torch.randint(-size, size, batch, generator=generator) for size in train.shape)
    expected = full(train)[(slice(None), *index)]
    assert torch.equal(train[index], without_ends(train, expected))
    assert torch.equal(train[tuple(i.numpy() for i in index)], train[index])


@given(st.data())
def test_an_index_of_any_kinds_is_that_of_the_dense_tensor(data: Any) -> None:
    """Integers, slices, new axes and neighbouring index tensors that broadcast."""
    first = data.draw(st.integers(0, 4))
    count = data.draw(st.integers(0, 4 - first))
    shapes = data.draw(st.sampled_from([[(2,)] * 4, [(2, 1), (3,), (), (1, 3)], [(1,), (2, 2, 1), (3,), (2, 1, 1)]]))
    index: list[Any] = []
    for axis, size in enumerate(SHAPE):
        if first <= axis < first + count:
            index.append(integers(*shapes[axis], seed=axis).abs().long() % size)
        else:
            whole = [0, -1, slice(None), slice(1, None), slice(None, None, 2)]
            index += data.draw(st.sampled_from([[], [None]])) + [data.draw(st.sampled_from(whole))]
    result = TRAIN[tuple(index)]
    expected = DENSE[tuple(index)]
    assert result.shape == expected.shape
    dense = result.reconstruct() if isinstance(result, TensorTrain) else result
    assert torch.equal(dense, expected)


def test_many_entries_of_large_slices() -> None:
    """These are looked up slice by slice, and others gathered."""
    train = integer_train((3, 4, 2, 3), (2, 12, 13, 12, 1))
    index = tuple(integers(40, 3, seed=n).abs().long() - 1 for n in range(4))
    index = (index[0], index[1], index[2] % 2, index[3])
    assert torch.equal(train[index], full(train)[(slice(None), *index)])
    cores = tuple(core.clone().requires_grad_() for core in train.cores)
    several = torch.vmap(lambda scale: (scale * train)[index])(torch.arange(2, dtype=F64))
    assert torch.equal(several[1], train[index])
    gradients = torch.autograd.grad(TensorTrain(cores)[index].sum(), cores)
    dense = torch.autograd.grad(full(TensorTrain(cores))[(slice(None), *index)].sum(), cores)
    for a, b in zip(gradients, dense, strict=True):
        torch.testing.assert_close(a, b)


def test_what_is_looked_up_has_gradients_and_batches() -> None:
    index = tuple(torch.tensor(i) for i in ([0, 2, 2], [3, 1, 1], [0, 1, 1], [4, 0, 0]))
    train = TensorTrain([core.clone().requires_grad_() for core in TRAIN.cores])
    assert torch.autograd.gradcheck(lambda *cores: TensorTrain(cores)[index], train.cores)
    assert torch.autograd.gradcheck(lambda *cores: TensorTrain(cores)[index[:2]].reconstruct(), train.cores)
    each = torch.vmap(lambda i, j, k, l: TRAIN[i, j, k, l])(*index)
    assert torch.equal(each, TRAIN[index])


def test_new_axes() -> None:
    assert torch.equal(TRAIN[None].reconstruct(), DENSE[None])
    assert torch.equal(TRAIN[..., None].reconstruct(), DENSE[..., None])
    assert torch.equal(TRAIN[1, None, :, 0, 2].reconstruct(), DENSE[1, None, :, 0, 2])
    assert torch.equal(TRAIN[0, 0, 0, 0, None].reconstruct(), DENSE[0, 0, 0, 0, None])


# ---- sums and contractions


@given(integer_trains(), st.data())
def test_sums_and_means_are_those_of_the_dense_tensor(train: TensorTrain, data: Any) -> None:
    dims = data.draw(st.lists(st.sampled_from(range(train.order)), unique=True))
    axes = [axis + 1 for axis in dims]
    dense = full(train)
    expected = dense.sum(axes) if axes else dense
    left = len(dims) < train.order
    assert torch.equal(tensor(train.sum(dims)), expected if left else without_ends(train, expected))
    kept = dense.sum(axes, keepdim=True) if axes else dense
    assert torch.equal(full(train.sum(dims, keepdim=True)), kept)
    count = math.prod(train.shape[axis] for axis in dims)
    torch.testing.assert_close(tensor(train.mean(dims)), tensor(train.sum(dims)) / count)
    assert torch.equal(train.sum(), without_ends(train, dense.sum(tuple(range(1, train.order + 1)))))


@given(integer_trains(), st.data())
def test_contractions_are_those_of_the_dense_tensor(train: TensorTrain, data: Any) -> None:
    dims = data.draw(st.lists(st.sampled_from(range(train.order)), unique=True, min_size=1))
    vectors = {axis: integers(train.shape[axis], seed=axis) for axis in dims}
    expected = full(train)
    for axis in sorted(dims, reverse=True):
        expected = torch.tensordot(expected, vectors[axis], ([axis + 1], [0]))
    result = train.contract({axis - train.order * (axis % 2): vector for axis, vector in vectors.items()})
    assert torch.equal(tensor(result), expected if len(dims) < train.order else without_ends(train, expected))
    axis = dims[0]
    matrix = integers(3, train.shape[axis], seed=7)
    expected = torch.tensordot(full(train), matrix, ([axis + 1], [1])).movedim(-1, axis + 1)
    assert torch.equal(full(train.mode_product(matrix, axis)), expected)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.data())
def test_tensordot_is_that_of_torch(common: list[int], data: Any) -> None:
    before = data.draw(st.lists(st.integers(1, 3), max_size=2))
    after = data.draw(st.lists(st.integers(1, 3), max_size=2))
    ends = [data.draw(st.integers(1, 3)) for _ in range(2)]
    left, right = [*before, *common], [*common, *after]
    a = integer_train(left, [ends[0], *[2] * (len(left) - 1), 1], 1)
    b = integer_train(right, [1, *[3] * (len(right) - 1), ends[1]], 2)
    expected = torch.tensordot(full(a)[..., 0], full(b)[0], len(common))
    result = a.tensordot(b, len(common))
    if before or after:
        assert torch.equal(full(result), expected)
    else:
        assert torch.equal(result, expected[0, 0] if ends == [1, 1] else expected)


# ---- order and lengths of axes


@given(integer_trains(), st.randoms(use_true_random=False))
def test_permuted_axes(train: TensorTrain, random: Any) -> None:
    order = list(range(train.order))
    random.shuffle(order)
    last = train.order + 1
    expected = full(train).permute(0, *(axis + 1 for axis in order), last)
    assert torch.equal(full(train.permute(*order)), expected)
    assert torch.equal(full(train.permute(order)), expected)


def test_reversed_axes_keep_their_ranks() -> None:
    assert TRAIN.permute(3, 2, 1, 0).ranks == TRAIN.ranks[::-1]
    assert torch.equal(TRAIN.permute(3, 2, 1, 0).reconstruct(), DENSE.permute(3, 2, 1, 0))


@given(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=4), st.data())
def test_reshaped_axes(shape: list[int], data: Any) -> None:
    ends = [data.draw(st.integers(1, 2)) for _ in range(2)]
    train = integer_train(shape, [ends[0], *[2] * (len(shape) - 1), ends[1]])
    factors = [f for size in shape for f in ((2, size // 2) if size % 2 == 0 else (size,))]
    sizes: list[int] = []
    while factors:
        count = data.draw(st.integers(1, len(factors)))
        sizes += [math.prod(factors[:count]), *data.draw(st.sampled_from([[], [1]]))]
        factors = factors[count:]
    reshaped = train.reshape(*sizes)
    assert reshaped.shape == tuple(sizes)
    assert torch.equal(full(reshaped), full(train).reshape(ends[0], *sizes, ends[1]))
    assert torch.equal(full(reshaped.reshape(shape)), full(train))
    assert train.reshape(-1).shape == (math.prod(shape),)


@given(st.lists(st.sampled_from([1, 1, 3]), min_size=1, max_size=4).map(tuple))
def test_squeezed_axes(shape: tuple[int, ...]) -> None:
    train = integer_train(shape, (1, *[2] * (len(shape) - 1), 1))
    dense = train.reconstruct()
    for dims in (None, 0, tuple(range(len(shape)))):
        expected = dense.squeeze() if dims is None else dense.squeeze(dims)
        result = train.squeeze(dims)
        assert result.shape == expected.shape
        assert torch.equal(result.reconstruct() if isinstance(result, TensorTrain) else result, expected)


# ---- products and joints


@given(integer_trains(ends=False), st.integers(0, 99), st.data())
def test_kronecker_and_outer_products(train: TensorTrain, seed: int, data: Any) -> None:
    shape = [data.draw(st.integers(1, 3)) for _ in train.shape]
    other = integer_train(shape, (1, *[2] * (train.order - 1), 1), seed)
    a, b = train.reconstruct(), other.reconstruct()
    assert torch.equal(train.kron(other).reconstruct(), torch.kron(a, b))
    assert torch.equal(train.outer(other).reconstruct(), torch.tensordot(a, b, 0))


@given(integer_trains(), st.data())
def test_joined_trains(train: TensorTrain, data: Any) -> None:
    axis = data.draw(st.integers(0, train.order - 1))
    others = [train]
    for n in range(data.draw(st.integers(0, 2))):
        shape = [*train.shape[:axis], 1 + n, *train.shape[axis + 1 :]]
        ranks = (train.ranks[0], *[2] * (train.order - 1), train.ranks[-1])
        others.append(integer_train(shape, ranks, 10 + n))
    assert torch.equal(full(TensorTrain.cat(others, axis)), torch.cat([full(t) for t in others], axis + 1))


# ---- bad input


@table(
    (lambda: TRAIN[torch.tensor([0.5])], ("index[0] has dtype torch.float32",)),
    (lambda: TRAIN[np.array([0.5])], ("index[0] is a ndarray",)),
    (lambda: TRAIN[torch.tensor([True, False, True])], ("dtype torch.bool", "mask.nonzero()")),
    (lambda: TRAIN[:, torch.tensor([0, 4])], ("index[1] holds 4", "axis of length 4")),
    (lambda: TRAIN[torch.tensor([-4])], ("index[0] holds -4",)),
    (lambda: TRAIN[torch.tensor([0, 1]), torch.tensor([0, 1, 2])], ("(2,), (3,) do not broadcast",)),
    (lambda: TRAIN[torch.tensor([0]), :, torch.tensor([0])], ("both sides of an axis that is kept", "permute()")),
    (lambda: TRAIN[torch.tensor([0]), None, torch.tensor([0])], ("both sides of an axis that is kept",)),
    (lambda: TRAIN[torch.empty(0, dtype=torch.long)], ("(0,) selects no entry",)),
    (lambda: TRAIN[torch.zeros(2, dtype=torch.int64, device="meta")], ("an index tensor is on the meta device",)),
    (lambda: TRAIN[torch.eye(3).long().to_sparse()], ("index[0] has the layout",)),
    (lambda: TRAIN.sum(4), ("dim = 4 is not one of the 4 axes",)),
    (lambda: TRAIN.sum((0, -4)), ("names an axis twice",)),
    (lambda: TRAIN.mean("a"), ("dim = 'a'",)),
    (lambda: TRAIN.contract([torch.ones(3)]), ("vectors is a list",)),
    (lambda: TRAIN.contract({0: torch.ones(4, dtype=F64)}), ("vectors[0] has shape (4,); (3) is needed",)),
    (lambda: TRAIN.contract({0: torch.ones(3)}), ("vectors[0] is torch.float32",)),
    (lambda: TRAIN.contract({0: torch.ones(3, dtype=F64) * math.nan}), ("3 NaN",)),
    (lambda: TRAIN.mode_product(torch.ones(3, 3, dtype=F64), 1), ("matrix has shape (3, 3); (any, 4) is needed",)),
    (lambda: TRAIN.mode_product(None, 1), ("matrix is a NoneType",)),
    (lambda: TRAIN.tensordot(TRAIN, 1), ("dims = 1", "must be the same")),
    (lambda: TRAIN.tensordot(3, 1), ("other is a int",)),
    (lambda: TRAIN.permute(0, 1), ("2 axes; all 4 are needed",)),
    (lambda: TRAIN.permute(0, 1, 2, 2), ("names an axis twice",)),
    (lambda: TRAIN.reshape(3, 4, 2, 6), ("shape = (3, 4, 2, 6) has 144 entries, the train 120",)),
    (lambda: TRAIN.reshape(4, 3, 10), ("overlaps axes",)),
    (lambda: TRAIN.reshape(-1, -1), ("shape = (-1, -1) has 2 lengths of -1",)),
    (lambda: TRAIN.reshape(7, -1), ("shape = (7, -1)", "product 7", "does not divide the 120 entries")),
    (lambda: TRAIN.reshape(), ("shape is empty",)),
    (lambda: TRAIN.reshape("ab"), ("shape[0] = 'a'",)),
    (lambda: TRAIN.squeeze(9), ("dim = 9",)),
    (lambda: TRAIN.kron(TRAIN[0]), ("the same number of axes",)),
    (lambda: TRAIN.outer(TRAIN.to(torch.float32)), ("other is torch.float32",)),
    (lambda: TRAIN.outer(integer_train((2,), (2, 1))), ("boundary ranks of 1",)),
    (lambda: TensorTrain.cat([]), ("a list of at least one",)),
    (lambda: TensorTrain.cat([TRAIN, TRAIN[0]]), ("differ in more than axis 0",)),
    (lambda: TensorTrain.cat([TRAIN, TRAIN[:, :2]], 0), ("differ in more than axis 0",)),
    (lambda: TensorTrain.cat([TRAIN], 4), ("dim = 4",)),
)
def test_refused(call: Any, fragments: Any) -> None:
    check(call, *fragments)


def test_no_result_depends_on_the_order_of_axes_alone() -> None:
    """All orders of four axes, twice."""
    for order in itertools.permutations(range(4)):
        back = [order.index(axis) for axis in range(4)]
        assert torch.equal(TRAIN.permute(*order).permute(*back).reconstruct(), DENSE)
