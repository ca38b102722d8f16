"""`verify_network` at the ends of the range of float64, and on tensors of every memory layout."""

import math

import pytest
import torch

from tensortrain import ConvTensorTrain, TensorTrainError
from tensortrain.compression.state_dicts.records import Changes, LayerRecord
from tensortrain.compression.verify import verify_network
from tensortrain.digest import digest
from tests.support.command import normal


def failures(chain, record, weight):
    cores = {f"c.cores.{l}.weight": core for l, core in enumerate(chain.cores)}
    return verify_network(cores, [record], {"c.weight": weight}).failures


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1.0, 1e200])
@pytest.mark.parametrize("transposed", [False, True])
def test_good_files_pass_and_wrong_ones_fail_at_every_scale(scale, transposed):
    weight = normal(0, 8, 4, 3, 3).double() * scale
    chain = ConvTensorTrain.decompose(weight, "separable", ranks=3, effort=0.1, transposed=transposed)
    record = LayerRecord.of("c.weight", chain, (8, 4, 3, 3), 1)
    assert failures(chain, record, weight) == []
    first, *others = chain.cores
    wrong = ConvTensorTrain([1.01 * first, *others], transposed=transposed)
    assert any("its error is" in failure for failure in failures(wrong, record, weight))
    assert any("its error is" in failure for failure in failures(chain, record, 1e3 * weight))


def test_cores_of_very_different_sizes_pass():
    """Neither of them is out of range, but the product of their squares would be."""
    weight = normal(0, 8, 4, 3, 3).double()
    chain = ConvTensorTrain.decompose(weight, "separable", ranks=3, effort=0.1)
    record = LayerRecord.of("c.weight", chain, (8, 4, 3, 3), 1)
    first, last = chain.cores
    assert failures(ConvTensorTrain([1e-250 * first, 1e250 * last]), record, weight) == []


def test_a_kernel_of_zeros_passes_and_a_core_beyond_all_numbers_fails():
    weight = torch.zeros(8, 4, 3, 3, dtype=torch.float64)
    chain = ConvTensorTrain.decompose(weight, "separable", ranks=3)
    record = LayerRecord.of("c.weight", chain, (8, 4, 3, 3), 1)
    assert failures(chain, record, weight) == []
    huge = ConvTensorTrain([torch.full_like(core, 1e300) for core in chain.cores])
    assert failures(huge, record, weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_files_in_short_dtypes_pass_where_rounding_is_coarse(dtype):
    weight = (normal(0, 8, 4, 3, 3) * 1e-4).to(dtype)
    chain = ConvTensorTrain.decompose(weight, "separable", ranks=12, effort=0.1)
    record = LayerRecord.of("c.weight", chain, (8, 4, 3, 3), 1)
    assert failures(chain, record, weight) == []


@pytest.mark.parametrize(
    "copied",
    [
        torch.arange(10.0)[::2],
        torch.ones(4)[::4],
        torch.ones(8)[::4][:0],
        torch.ones(1).expand(4, 3),
        torch.tensor(True),
        torch.tensor(1 + 2j).conj(),
        torch.tensor([1 + 2j]).conj().imag,
        torch.tensor([math.nan, 1.0]),
    ],
    ids=lambda tensor: f"{tensor.dtype} {tuple(tensor.shape)} {tensor.stride()}",
)
def test_copied_tensors_are_compared_whatever_their_layout_is(copied):
    weight = normal(0, 8, 4, 3, 3)
    chain = ConvTensorTrain.decompose(weight, "separable", ranks=3, effort=0.1)
    record = LayerRecord.of("c.weight", chain, (8, 4, 3, 3), 1)
    cores = {f"c.cores.{l}.weight": core for l, core in enumerate(chain.cores)}
    stored = copied.resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)
    original = {"c.weight": weight, "b": copied}
    assert verify_network(cores | {"b": stored}, [record], original).failures == []
    changes = Changes(changed={"b": digest(copied)})
    assert verify_network(cores | {"b": stored}, [record], original, changes).failures == []
    if stored.numel():
        wrong = torch.zeros_like(stored)
        assert verify_network(cores | {"b": wrong}, [record], original).failures == ["b differs from the original"]


def test_tensors_without_entries_differ_and_kernels_without_entries_are_refused():
    weight = normal(0, 8, 4, 3, 3)
    chain = ConvTensorTrain.decompose(weight, "separable", ranks=3, effort=0.1)
    record = LayerRecord.of("c.weight", chain, (8, 4, 3, 3), 1)
    tensors = {f"c.cores.{l}.weight": core for l, core in enumerate(chain.cores)} | {"b": torch.ones(3)}
    for other in (torch.ones(3, device="meta"), torch.ones(3).to_sparse()):
        failures = verify_network(tensors, [record], {"c.weight": weight, "b": other}).failures
        assert failures == ["b differs from the original"]
    with pytest.raises(TensorTrainError, match=r"'c.weight' of the original is on the meta device"):
        verify_network(tensors, [record], {"c.weight": weight.to("meta"), "b": torch.ones(3)})
