"""`verify_network` at the ends of the range of float64, where squares and products of entries overflow or underflow."""

import pytest
import torch

from tensortrain import ConvTensorTrain
from tensortrain.compression.state_dicts.records import LayerRecord
from tensortrain.compression.verify import verify_network
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
