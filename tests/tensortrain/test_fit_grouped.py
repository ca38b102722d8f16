"""Chains whose cores all have groups, one core among them, so that they share more groups than the convolution has."""

import math

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import tensortrain_check
from tensortrain import ConvTensorTrain, TensorTrainError
from tensortrain.conv.fit import bounds
from tensortrain.conv.formats import Format
from tensortrain.conv.functional import ungroup
from tensortrain.nn import decompose, load, save
from tests.support import oracles
from tests.support.command import run

BLOCKS = [(1, 1), (2, 2), (2, 1), (1, 2), (4, 4)]


def one_core(size, block, groups, transposed):
    """A kernel of four blocks on the diagonal for each group, its format, and its channels."""
    p, q = (groups * (4 // max(block)) * n for n in block)
    shape = (q, p // groups) if transposed else (p, q // groups)
    return oracles.floats(0, *shape, *size), Format((size,), (block,)), (p, q)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("size", [(3,), (1, 1), (2, 3), (2, 1, 2)])
def test_one_core_takes_the_blocks_on_the_diagonal(size, block, groups, transposed):
    weight, chain_format, channels = one_core(size, block, groups, transposed)
    chain = ConvTensorTrain.decompose(weight, chain_format, ranks=[], groups=groups, transposed=transposed)
    count = groups * 4 // max(block)
    assert chain.groups == (count,)
    dense, kept = ungroup(weight, groups), ungroup(torch.ones_like(chain.cores[0]), count) > 0
    torch.testing.assert_close(ungroup(chain.reconstruct(), count), dense * kept)
    best = float((dense * ~kept).norm() / dense.norm())
    assert chain.error == pytest.approx(best, abs=1e-12)
    assert bounds(weight, chain_format, channels, groups=groups, transposed=transposed) == (0.0, pytest.approx(best))
    low, high = chain.certificate(weight).error
    assert low - 1e-9 <= best <= high + 1e-9
    for limit in ({"budget": 1.0}, {"ranks": 3}, {"ranks": [], "rtol": 0.999}):
        again = ConvTensorTrain.decompose(weight, chain_format, groups=groups, transposed=transposed, **limit)
        assert torch.equal(again.cores[0], chain.cores[0])
    if best:
        with pytest.raises(TensorTrainError, match=r"rtol = 0\.001 is not reached"):
            ConvTensorTrain.decompose(weight, chain_format, groups=groups, transposed=transposed, rtol=1e-3)


def test_one_core_is_drawn_beside_a_weight_of_fewer_groups():
    weight = oracles.floats(0, 4, 4, 1, 1)
    chain = ConvTensorTrain.decompose(weight, Format(((1, 1),), ((1, 1),)), ranks=[])
    assert len(chain.plot(weight).axes) > 1


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("block", BLOCKS)
def test_one_core_in_the_metric_of_the_data_solves_the_normal_equations(block, groups, transposed):
    weight, chain_format, (p, q) = one_core((2, 2), block, groups, transposed)
    d, count = q // groups * 4, 4 // max(block)
    roots = oracles.floats(1, groups, d, d)
    moment = roots @ roots.mT
    arguments = {"ranks": [], "groups": groups, "transposed": transposed}
    chain = ConvTensorTrain.decompose(weight, chain_format, inputs=moment, **arguments)
    difference = ungroup(chain.reconstruct(), groups * count) - ungroup(weight, groups)
    if transposed:
        difference = difference.transpose(0, 1).flip(2, 3)
    own = difference.reshape(groups, p // groups, groups, q // groups, 2, 2).diagonal(dim1=0, dim2=2).movedim(-1, 0)
    slope = (own.flatten(2) @ moment).reshape(groups, count, p // groups // count, count, q // groups // count, 4)
    assert float(slope.diagonal(dim1=1, dim2=3).norm()) < 1e-6 * float(slope.norm() + weight.norm())
    plain = ConvTensorTrain.decompose(weight, chain_format, **arguments)
    assert chain.error >= plain.error - 1e-9


@pytest.mark.parametrize("blocks", [((1, 1), (1, 1)), ((2, 2), (1, 1)), ((2, 1), (1, 2)), ((2, 2), (2, 2), (4, 4))])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("data", [False, True])
def test_chains_that_share_groups_among_all_cores(blocks, transposed, data):
    chain_format = Format(((2,),) * len(blocks), blocks)
    weight = oracles.floats(2, 8, 4, *chain_format.kernel_size)
    inputs = oracles.floats(3, 2, 8, 6) if data else None
    ranks = [4 if blocks[0] == (2, 1) else 8] * (len(blocks) - 1)
    arguments = {"groups": 2, "transposed": transposed, "inputs": inputs, "effort": 0.2}
    chain = ConvTensorTrain.decompose(weight, chain_format, ranks=ranks, **arguments)
    kernel = ungroup(chain.reconstruct(), math.gcd(*chain.groups), 2)
    assert chain.error == pytest.approx(float((kernel - weight).norm() / weight.norm()))
    low, high = chain.certificate(weight).error
    assert low - 1e-9 <= chain.error <= high + 1e-9
    assert len(chain.plot(weight).axes) > 1
    with pytest.raises(TensorTrainError, match="the kernel of this chain has"):
        chain.plot(weight[:, :3])


def test_a_network_of_such_chains_is_saved_verified_and_certified(tmp_path, capsys):
    def network():
        torch.manual_seed(0)
        first, second = nn.Conv2d(8, 8, 3, groups=2), nn.ConvTranspose2d(8, 4, 3, groups=2)
        return nn.Sequential(nn.Conv2d(8, 8, 3), first, second, nn.Conv2d(4, 8, 3))

    save_file(network().state_dict(), tmp_path / "net.safetensors")
    whole = {str(l): Format(((3, 3),), (block,)) for l, block in enumerate([(2, 2), (1, 1), (1, 2)])}
    small = decompose(network(), {**whole, "3": Format(((2, 2), (2, 2)), ((2, 1), (1, 1)))}, budget=0.9)
    save(small, tmp_path / "small.safetensors")
    x = oracles.floats(4, 1, 8, 9, 9).float()
    assert torch.equal(load(network(), tmp_path / "small.safetensors")(x), small(x))
    files = ["--against", tmp_path / "net.safetensors", "--certificate", tmp_path / "out.json"]
    assert run("verify", tmp_path / "small.safetensors", *files) == 0
    tensortrain_check.main(tmp_path / "out.json")
    assert capsys.readouterr().out.count("(A)") == 4
