"""Trains of other libraries: their layouts by small stand-ins, and the libraries where they are installed."""

import importlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tensortrain import TensorTrain
from tests.support.bad_input import check, table
from tests.support.trains import DTYPES, integer_train, integer_trains

TRAIN = integer_train((3, 4, 2), (1, 2, 3, 1))


def equal(a: TensorTrain, b: TensorTrain) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.cores, b.cores, strict=True))


class Site:
    """A tensor of a matrix product state as quimb has it: data, and a name for each axis."""

    def __init__(self, data: Any, inds: tuple[str, ...]) -> None:
        self.data, self.inds = data, inds

    def ind_size(self, name: str) -> int:
        return self.data.shape[self.inds.index(name)]


class State:
    """An open matrix product state as quimb has it; `shuffle` puts the axes of its tensors into any order."""

    cyclic = False

    def __init__(self, train: TensorTrain, shuffle: Any = None) -> None:
        self.sites = range(train.order)
        self._tensors = []
        for l, core in enumerate(train.cores):
            inds = [f"b{l}"] * (l > 0) + [f"k{l}"] + [f"b{l + 1}"] * (l < train.order - 1)
            data = core.numpy().reshape(
                [n for n, kept in zip(core.shape, (l, 1, train.order - 1 - l), strict=True) if kept]
            )
            order = list(range(len(inds)))
            if shuffle:
                shuffle(order)
            self._tensors.append(Site(np.transpose(data, order), tuple(inds[n] for n in order)))

    def site_ind(self, site: int) -> str:
        return f"k{site}"

    def __getitem__(self, site: int) -> Site:
        return self._tensors[site]


@given(integer_trains(ends=False), st.randoms(use_true_random=False))
def test_layouts_of_neighbours(train: TensorTrain, random: Any) -> None:
    arrays = train.to_arrays()
    for foreign in (
        SimpleNamespace(cores=list(train.cores), is_ttm=False),  # torchTT
        SimpleNamespace(cores=list(train.cores), Us=[None] * train.order),  # tntorch
        SimpleNamespace(tt_cores=tuple(arrays)),  # t3f
        arrays,  # teneva
        State(train),  # quimb
        State(train, random.shuffle),
    ):
        assert equal(TensorTrain.from_foreign(foreign), train)


def test_tensors_are_shared_and_arrays_are_copied() -> None:
    shared = TensorTrain.from_foreign(SimpleNamespace(cores=TRAIN.cores))
    assert shared.cores[0].data_ptr() == TRAIN.cores[0].data_ptr()
    arrays = [array.copy() for array in TRAIN.to_arrays()]
    copied = TensorTrain.from_foreign(arrays)
    arrays[0][:] = 9
    assert equal(copied, TRAIN)
    assert np.shares_memory(TRAIN.to_arrays()[0], TRAIN.cores[0].numpy())


@pytest.mark.parametrize("dtype", DTYPES)
def test_torchtt(dtype: torch.dtype) -> None:
    pytest.importorskip("torchtt", reason="torchTT is not installed")
    train = TRAIN.to(dtype)
    theirs = train.to_torchtt()
    assert torch.equal(theirs.full(), train.reconstruct())
    assert equal(TensorTrain.from_foreign(theirs + theirs), train + train)


@pytest.mark.parametrize("dtype", DTYPES)
def test_quimb(dtype: torch.dtype) -> None:
    quimb = pytest.importorskip("quimb.tensor", reason="quimb is not installed")
    for train in (TRAIN.to(dtype), TRAIN[0].to(dtype), TRAIN[:, 0, 0].to(dtype)):
        theirs = train.to_quimb()
        assert np.array_equal(np.asarray(theirs.to_dense()).flatten(), train.numpy().flatten())
        assert equal(TensorTrain.from_foreign(theirs), train)
    state = quimb.MPS_rand_state(5, 3, seed=0)
    state.permute_arrays("rpl")
    assert np.allclose(TensorTrain.from_foreign(state).numpy().flatten(), state.to_dense().flatten())
    check(lambda: TensorTrain.from_foreign(quimb.MPS_rand_state(5, 3, cyclic=True)), "periodic")


def test_teneva() -> None:
    teneva = pytest.importorskip("teneva", reason="teneva is not installed")
    assert np.array_equal(teneva.full(TRAIN.to_arrays()), TRAIN.numpy())
    theirs = teneva.rand([3, 4, 5], 2, seed=0)
    assert np.allclose(TensorTrain.from_foreign(theirs).numpy(), teneva.full(theirs))


@pytest.mark.parametrize(("library", "call"), [("torchtt", TRAIN.to_torchtt), ("quimb", TRAIN.to_quimb)])
def test_a_library_that_is_missing_is_named(library: str, call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    check(call, "cannot be imported", "pip install", library[:5])


ENDS = integer_train((2, 3), (2, 2, 1))


@table(
    (lambda: TensorTrain.from_foreign(3), ("train is a int",)),
    (lambda: TensorTrain.from_foreign([]), ("cores is empty",)),
    (lambda: TensorTrain.from_foreign(["a"]), ("must be tensors or arrays",)),
    (lambda: TensorTrain.from_foreign([np.ones((1, 2, 2, 1))]), ("TT-matrix", "TensorTrainMatrix")),
    (lambda: TensorTrain.from_foreign(SimpleNamespace(cores=[torch.ones(1, 2, 2, 1)])), ("TT-matrix",)),
    (lambda: TensorTrain.from_foreign([np.ones((1, 2, 3)), np.ones((2, 2, 1))]), ("begins with rank 2",)),
    (lambda: TensorTrain.from_foreign(SimpleNamespace(cores=TRAIN.cores, Us=[torch.ones(2, 2)])), ("Tucker factors",)),
    (lambda: TensorTrain.from_foreign([np.array([[[None]]])]), ("must be tensors or arrays",)),
    (ENDS.to_torchtt, ("torchTT needs boundary ranks of 1",)),
    (ENDS.to_quimb, ("quimb needs boundary ranks of 1",)),
    (ENDS.to_tensorly, ("TensorLy needs boundary ranks of 1",)),
    (lambda: TRAIN.clone().requires_grad_().to_arrays(), ("call train.detach() first",)),
)
def test_refused(call: Any, fragments: Any) -> None:
    check(call, *fragments)
