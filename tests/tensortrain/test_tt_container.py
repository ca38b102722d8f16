"""Trains as objects: drawn at random, moved, saved, handed to TensorLy and to torch."""

import copy
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from tensortrain import storage
from tensortrain.errors import TensorTrainError
from tensortrain.tt.tensor_train import TensorTrain
from tests.support.trains import (
    DTYPES,
    F64,
    check_decomposed_train,
    check_used_train,
    integer_train,
    structured,
)


def test_random_trains_are_reproducible_with_entries_of_variance_1() -> None:
    state = torch.get_rng_state()
    train = TensorTrain.random((30, 30, 30), (4, 5), seed=2)
    assert torch.equal(state, torch.get_rng_state())
    assert train.ranks == (1, 4, 5, 1)
    assert train.error is None
    assert float(train.reconstruct().var()) == pytest.approx(1.0, rel=0.6)
    again = TensorTrain.random((30, 30, 30), (4, 5), seed=2)
    assert all(torch.equal(a, b) for a, b in zip(train.cores, again.cores, strict=True))
    assert not torch.equal(train.cores[0], TensorTrain.random((30, 30, 30), (4, 5), seed=3).cores[0])
    assert TensorTrain.random((2, 3), 2, dtype=torch.complex64).dtype == torch.complex64
    zeros = TensorTrain.zeros((2, 3), 2, dtype=F64)
    assert torch.equal(zeros.reconstruct(), torch.zeros(2, 3, dtype=F64))


@pytest.mark.parametrize("dtype", DTYPES)
def test_trains_work_in_every_dtype(dtype: torch.dtype) -> None:
    """On a GPU too: `tests/cuda/test_library.py`."""
    check_decomposed_train(torch.device("cpu"), dtype)
    check_used_train(torch.device("cpu"), dtype)


def test_tensorly_round_trip_leaves_its_backend_alone() -> None:
    import tensorly

    backend = tensorly.get_backend()
    train = TensorTrain.random((3, 4, 5), 2, dtype=F64)
    theirs = train.to_tensorly()
    assert tuple(theirs.rank) == train.ranks
    with tensorly.backend_context("pytorch", local_threadsafe=True):
        torch.testing.assert_close(theirs.to_tensor(), train.reconstruct())
    back = TensorTrain.from_tensorly(theirs)
    assert all(torch.equal(a, b) for a, b in zip(back.cores, train.cores, strict=True))
    assert tensorly.get_backend() == backend
    arrays = [core.numpy() for core in train.cores]
    copied = TensorTrain.from_tensorly(arrays)
    arrays[0][:] = 0
    assert float(copied.cores[0].abs().sum()) > 0
    with pytest.raises(TensorTrainError, match="boundary ranks of 1"):
        integer_train((2, 3), (2, 2, 1)).to_tensorly()


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float16])
def test_trains_survive_a_round_trip_through_files(dtype: torch.dtype, tmp_path: Path) -> None:
    path = tmp_path / "train.safetensors"
    train = TensorTrain.decompose(structured((4, 5, 6), 0.5, F64, 0), ranks=2).to(dtype)
    train.save(path)
    loaded = TensorTrain.load(path)
    assert loaded.dtype == dtype
    assert loaded.error == train.error
    assert all(torch.equal(a, b) for a, b in zip(train.cores, loaded.cores, strict=True))
    lazy = TensorTrain([core.conj() for core in train.cores])
    lazy.save(path)
    assert TensorTrain.load(path).error is None
    assert torch.equal(TensorTrain.load(path).cores[1], train.cores[1].conj())
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.safetensors"
    integer_train((20, 30), (1, 9, 1)).save(path)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:4], b"", b"no safetensors"):
        path.write_bytes(damaged)
        with pytest.raises(TensorTrainError, match="cannot read"):
            TensorTrain.load(path)
    with pytest.raises(TensorTrainError, match="cannot read"):
        TensorTrain.load(tmp_path / "missing")
    storage.write(path, {"cores.0": torch.ones(1, 2, 1)}, {"kind": "matrix", "complex": False, "error": None})
    with pytest.raises(TensorTrainError, match="kind 'train'"):
        TensorTrain.load(path)
    storage.write(path, {"else": torch.ones(1, 2, 1)}, {"kind": "train", "complex": False, "error": None})
    with pytest.raises(TensorTrainError, match=r"no 'cores\.0'"):
        TensorTrain.load(path)


def test_an_interrupted_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "train.safetensors"
    integer_train((2, 3), (1, 2, 1)).save(path)
    before = path.read_bytes()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(storage, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        integer_train((4, 5), (1, 2, 1)).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_trains_are_pytrees() -> None:
    train = TensorTrain.decompose(structured((3, 4, 5), 0.5, F64, 0), ranks=2)
    leaves, structure = pytree.tree_flatten(train)
    assert len(leaves) == 3
    assert pytree.tree_unflatten(leaves, structure).error is None
    doubled = pytree.tree_map(lambda core: 2 * core, train)
    torch.testing.assert_close(doubled.reconstruct(), 8 * train.reconstruct())
    gradient = torch.func.grad(lambda t: t.norm())(train)
    assert isinstance(gradient, TensorTrain)
    assert gradient.shape == train.shape
    inputs = [torch.ones(2, size, dtype=F64) for size in train.shape]
    each = torch.func.vmap(lambda *u: train.evaluate(u))(*inputs)
    torch.testing.assert_close(each, train.evaluate(inputs))


class Evaluate(torch.nn.Module):
    def forward(self, train: TensorTrain, inputs: list[Tensor]) -> Tensor:
        return train.evaluate(inputs)


def test_trains_can_be_exported() -> None:
    train = TensorTrain.random((3, 4), 2)
    inputs = [torch.ones(2, 3), torch.ones(2, 4)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(Evaluate(), (train, inputs)).module()
    torch.testing.assert_close(exported(train, inputs), train.evaluate(inputs))


def test_trains_are_immutable_and_made_of_plain_numbers() -> None:
    train = TensorTrain.decompose(structured((3, 4, 5), 0.5, F64, 0), budget=0.7)
    with pytest.raises(AttributeError):
        train.cores = ()  # type: ignore[misc]
    assert isinstance(train.cores, tuple)
    numbers = [*train.ranks, *train.shape, train.order, train.n_parameters, train.dense_parameters]
    assert all(type(n) is int for n in [*numbers, train.macs(), train.dense_macs()])
    assert copy.deepcopy(train).ranks == train.ranks
    text = repr(train)
    assert "shape 3×4×5" in text
    assert str(train.ranks) in text
    assert f"{train.n_parameters} of 60" in text
    assert f"error       {train.error:.4g}" in text
    assert "error" not in repr(TensorTrain(train.cores))
