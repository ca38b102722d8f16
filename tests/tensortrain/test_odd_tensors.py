"""Tensors with which torch does not calculate as with others: a named error in every public function."""

import warnings
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import tensortrain as tt
from tensortrain import TensorTrainError, storage
from tests.support.command import run


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def matrix(x: Tensor) -> Tensor:
    return x.reshape(x.shape[0], -1)


ODD: dict[str, Callable[[Tensor], Tensor]] = {
    "sparse": lambda x: x.to_sparse(),
    "csr": lambda x: matrix(x).to_sparse_csr(),
    "mkldnn": lambda x: x.to_mkldnn(),
    "quantised": lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8),
    "nested": lambda x: torch.nested.nested_tensor([x[0], x[0]]),
    "float8_e4m3fn": lambda x: x.to(torch.float8_e4m3fn),
    "float8_e5m2": lambda x: x.to(torch.float8_e5m2),
    "float8_e8m0fnu": lambda x: x.to(torch.float8_e8m0fnu),
    "complex32": lambda x: x.to(torch.complex32),
}


def conv(weight: Tensor) -> nn.Conv2d:
    module = nn.Conv2d(8, 8, 3)
    module.weight = nn.Parameter(weight, requires_grad=False)
    return module


def linear(weight: Tensor) -> nn.Linear:
    module = nn.Linear(6, 6)
    module.weight = nn.Parameter(weight, requires_grad=False)
    return module


TRAIN = tt.TensorTrain.random((3, 4), 2)
MATRIX = tt.TensorTrainMatrix([normal(0, 1, 2, 2, 2), normal(1, 2, 3, 3, 1)])
CHAIN = tt.ConvTensorTrain([normal(0, 4, 2, 3, 3), normal(1, 2, 8, 3, 3)])
KERNEL, IMAGE = normal(0, 4, 8, 3, 3), normal(1, 1, 8, 9, 9)
F = tt.functional

ENTRIES: dict[str, tuple[tuple[int, ...], Callable[[Tensor], object]]] = {
    "TensorTrain.decompose": ((3, 4, 5), lambda x: tt.TensorTrain.decompose(x, ranks=2)),
    "TensorTrain": ((1, 3, 1), lambda x: tt.TensorTrain([x])),
    "TensorTrain.evaluate": ((2, 3), lambda x: TRAIN.evaluate([x, torch.ones(2, 4)])),
    "TensorTrain.evaluate_dense": ((2, 3), lambda x: TRAIN.evaluate_dense([x, torch.ones(2, 4)])),
    "TensorTrain.contract": ((3,), lambda x: TRAIN.contract({0: x})),
    "TensorTrain.mode_product": ((2, 3), lambda x: TRAIN.mode_product(x, 0)),
    "TensorTrain.along": ((3,), lambda x: tt.TensorTrain.along(x, (3, 4), 0)),
    "TensorTrain.quantize": ((4, 4), tt.TensorTrain.quantize),
    "TensorTrain.fit": ((2,), lambda x: tt.TensorTrain.fit(torch.tensor([[0, 1], [2, 0]]), x, 1)),
    "TensorTrain.from_foreign": ((1, 3, 1), lambda x: tt.TensorTrain.from_foreign([x])),
    "TensorTrain.from_tensorly": ((1, 3, 1), lambda x: tt.TensorTrain.from_tensorly([x])),
    "TensorTrainMatrix.decompose": ((6, 6), lambda x: tt.TensorTrainMatrix.decompose(x, (2, 3), (2, 3), ranks=2)),
    "TensorTrainMatrix": ((1, 2, 3, 1), lambda x: tt.TensorTrainMatrix([x])),
    "TensorTrainMatrix @": ((6, 2), lambda x: MATRIX @ x),
    "ConvTensorTrain.decompose": ((8, 8, 3, 3), lambda x: tt.ConvTensorTrain.decompose(x, "tucker2", ranks=2)),
    "ConvTensorTrain": ((4, 8, 3, 3), lambda x: tt.ConvTensorTrain([x])),
    "ConvTensorTrain.evaluate": ((1, 8, 9, 9), CHAIN.evaluate),
    "ConvTensorTrain.evaluate_dense": ((1, 8, 9, 9), CHAIN.evaluate_dense),
    "conv_tt, cores": ((4, 8, 3, 3), lambda x: F.conv_tt([x], [IMAGE])),
    "conv_tt, inputs": ((1, 8, 9, 9), lambda x: F.conv_tt([KERNEL], [x])),
    "conv_tt, biases": ((4,), lambda x: F.conv_tt([KERNEL], [IMAGE], [x])),
    "conv_sum, kernels": ((4, 8, 3, 3), lambda x: F.conv_sum([x], [IMAGE])),
    "conv_sum, inputs": ((1, 8, 9, 9), lambda x: F.conv_sum([KERNEL], [x])),
    "compose, outer": ((4, 8, 3, 3), lambda x: F.compose(x, normal(2, 8, 2, 3, 3))),
    "compose, inner": ((8, 2, 3, 3), lambda x: F.compose(KERNEL, x)),
    "compose_all": ((8, 2, 3, 3), lambda x: F.compose_all([x], [1])),
    "tt_reconstruct": ((1, 3, 1), lambda x: F.tt_reconstruct([x])),
    "tt_evaluate": ((1, 3, 1), lambda x: F.tt_evaluate([x], [torch.ones(3)])),
    "tt_matvec, cores": ((1, 2, 3, 1), lambda x: F.tt_matvec([x], torch.ones(3, 1))),
    "tt_matvec, columns": ((6, 1), lambda x: F.tt_matvec(MATRIX.cores, x)),
    "nn.decompose": ((8, 8, 3, 3), lambda x: tt.nn.decompose(nn.Sequential(conv(x)), "tucker2", ranks=2)),
    "ConvTT2d.from_conv": ((8, 8, 3, 3), lambda x: tt.nn.ConvTT2d.from_conv(conv(x), "tucker2", ranks=2)),
    "ConvTT2d, bias": ((4,), lambda x: tt.nn.ConvTT2d(CHAIN, x)),
    "TTLinear.from_linear": ((6, 6), lambda x: tt.nn.TTLinear.from_linear(linear(x), (2, 3), (2, 3), ranks=2)),
    "TTLinear, bias": ((6,), lambda x: tt.nn.TTLinear(MATRIX, x)),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("entry", ENTRIES)
def test_odd_tensors_are_refused_by_name(entry: str, kind: str) -> None:
    shape, call = ENTRIES[entry]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sparse, nested and quantised tensors are not finished in torch
        tensor = ODD[kind](normal(3, *shape).abs())
        with pytest.raises(TensorTrainError):
            call(tensor)


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if "decompose" in entry or entry.startswith("TTLinear.")])
def test_tensors_without_entries_are_refused_by_name(entry: str) -> None:
    shape, call = ENTRIES[entry]
    with pytest.raises(TensorTrainError, match=r"meta device|no conv"):
        call(torch.empty(shape, device="meta"))


def test_the_message_says_what_to_do() -> None:
    with pytest.raises(TensorTrainError, match=r"tensor has the layout torch\.sparse_coo; convert it with \.to_dense"):
        tt.TensorTrain.decompose(torch.eye(3).to_sparse(), ranks=2)
    with pytest.raises(TensorTrainError, match=r"tensor has dtype torch\.float8_e5m2, .* convert it with \.float"):
        tt.TensorTrain.decompose(torch.eye(3).to(torch.float8_e5m2), ranks=2)


def test_float8_kernels_of_a_checkpoint_are_copied(tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    kernel = normal(0, 8, 8, 3, 3)
    state = {
        "a.weight": kernel.to(torch.float8_e4m3fn),
        "b.weight": kernel,
        "scale": torch.ones(2).to(torch.float8_e5m2),
    }
    save_file(state, tmp_path / "net.st")
    assert (
        run("decompose", tmp_path / "net.st", "--kernel-sizes", "tucker2", "--ranks", "3", "-o", tmp_path / "s.st") == 0
    )
    assert "copied a.weight: has dtype torch.float8_e4m3fn" in capsys.readouterr().out
    assert load_file(tmp_path / "s.st")["a.weight"].dtype == torch.float8_e4m3fn
    assert run("verify", tmp_path / "s.st", "--against", tmp_path / "net.st") == 0


@pytest.mark.parametrize("kind", ["sparse", "csr", "quantised", "meta"])
def test_what_no_file_can_hold_is_refused_before_the_work(tmp_path, capsys, kind) -> None:  # type: ignore[no-untyped-def]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        odd = normal(0, 8, 8).to("meta") if kind == "meta" else ODD[kind](normal(0, 8, 8))
        torch.save({"odd": odd, "b.weight": normal(0, 8, 8, 3, 3)}, tmp_path / "net.pt")
        assert run("decompose", tmp_path / "net.pt", "--ranks", "3", "-o", tmp_path / "small.st") == 2
        assert "tensortrain: cannot write odd: it " in capsys.readouterr().err
        with pytest.raises(TensorTrainError, match="cannot write odd: it "):
            storage.write(tmp_path / "odd.st", {"odd": odd}, {"kind": "chain"})


class Counting(nn.Conv2d):
    """A module with more in its state than tensors."""

    def get_extra_state(self) -> dict[str, int]:
        return {"calls": 3}

    def set_extra_state(self, state: dict[str, int]) -> None:
        pass


def test_a_model_with_more_than_tensors_in_its_state_is_not_saved(tmp_path) -> None:  # type: ignore[no-untyped-def]
    net = nn.Sequential(nn.Conv2d(8, 8, 3), nn.ModuleDict({"odd": Counting(8, 8, 3)}))
    small = tt.nn.decompose(net, "tucker2", ranks=3, exclude=["1.*"])
    with pytest.raises(TensorTrainError, match=r"cannot write 1\.odd\._extra_state: it is a dict"):
        tt.nn.save(small, tmp_path / "small.st")
    assert list(tmp_path.iterdir()) == []
