"""Limits of a whole network: one for all convs, or a mapping of patterns, of which the first that matches decides."""

import pytest
import torch
from torch import nn

import tensortrain as tt
from tensortrain import TensorTrainError
from tensortrain.compression.state_dicts.decomposition import UNNAMED, decompose_kernels
from tensortrain.compression.state_dicts.kernels import ConvKernel
from tensortrain.compression.state_dicts.limits import LayerLimits
from tests.support.layers import lazily, normal

NAMES = ("stem", "layer1.0", "layer1.1", "layer2.0")
KERNELS = [ConvKernel(f"{name}.weight", normal(i, 4, 4, 5)) for i, name in enumerate(NAMES)]


def network():
    torch.manual_seed(0)
    net = nn.ModuleDict({"stem": nn.Conv1d(4, 4, 5)})
    net["layer1"] = nn.Sequential(nn.Conv1d(4, 4, 5), nn.Conv1d(4, 4, 5))
    net["layer2"] = nn.Sequential(nn.Conv1d(4, 4, 5))
    return net


def decomposed(net):
    """The chains of a network by the names of their layers."""
    return {name: layer.chain for name, layer in net.named_modules() if isinstance(layer, tt.nn.ConvTT1d)}


def test_the_first_pattern_that_matches_decides():
    for budget, expected in [
        ({"layer1.0": 0.5, "layer1.*": 0.75, "*": 1.0}, [1.0, 0.5, 0.75, 1.0]),
        ({"*": 1.0, "layer1.0": 0.5}, [1.0] * 4),
    ]:
        arguments = LayerLimits(budget=budget).by_kernel(KERNELS)
        assert [arguments[kernel.name]["budget"] for kernel in KERNELS] == expected


def test_patterns_match_the_weight_or_its_layer():
    assert list(LayerLimits(ranks={"stem.weight": 2, "layer2.?": 3}).by_kernel(KERNELS).values()) == [
        {"kernel_sizes": "auto", "ranks": 2},
        {"kernel_sizes": "auto", "ranks": 3},
    ]


def test_one_value_holds_for_all_kernels():
    arguments = LayerLimits(kernel_sizes=(3, 3), ranks=[2], rtol=0.5, max_parameters=60, budget=0.9).by_kernel(KERNELS)
    expected = {"kernel_sizes": (3, 3), "ranks": [2], "rtol": 0.5, "max_parameters": 60, "budget": 0.9}
    assert list(arguments.values()) == [expected] * 4


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ({"budget": {"layer1.*": 0.5}}, ["layer1.0", "layer1.1"]),
        ({"budget": {"layer1.*": 0.5}, "rtol": 0.5}, ["layer1.0", "layer1.1"]),
        ({"budget": {"layer1.*": 0.5}, "ranks": {"stem": 2}}, ["stem", "layer1.0", "layer1.1"]),
        ({"kernel_sizes": {"stem": (3, 3)}, "ranks": 2}, ["stem"]),
        ({"kernel_sizes": {"*": (3, 3)}, "ranks": {"layer2.*": 2}}, ["layer2.0"]),
    ],
    ids=str,
)
def test_a_kernel_that_no_pattern_names_or_limits_stays(limits, named):
    assert [name.removesuffix(".weight") for name in LayerLimits(**limits).by_kernel(KERNELS)] == named


def test_a_kernel_without_limits_may_be_anything():
    """NaN, or no weight yet: what stays as it is is not looked into."""
    nan = ConvKernel("nan.weight", torch.full((4, 4, 5), float("nan")))
    outcomes = list(decompose_kernels([KERNELS[0], nan], LayerLimits((3, 3), ranks={"stem": 2})))
    assert [outcome.reason for outcome in outcomes] == [None, UNNAMED]
    net = network()
    net["lazy"] = lazily(None)
    assert list(decomposed(tt.nn.decompose(net, (3, 3), ranks={"stem": 2}))) == ["stem"]
    with pytest.warns(UserWarning, match="lazy: conv is a LazyConv2d without a weight"):
        small = tt.nn.decompose(net, (3, 3), ranks={"stem": 2, "lazy": 2})
    assert list(decomposed(small)) == ["stem"]
    del net["stem"]
    with pytest.raises(TensorTrainError, match="lazy: conv is a LazyConv2d without a weight"):
        tt.nn.decompose(net, (3, 3), ranks={"lazy": 2})


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"kernel_sizes": (3, 3), "max_parameters": 50}, dict.fromkeys(NAMES, (4, 2, 4))),
        (
            {"kernel_sizes": (3, 3), "max_parameters": {"stem": 24, "layer2.*": 50}},
            {"stem": (4, 1, 4), "layer2.0": (4, 2, 4)},
        ),
        (
            {"kernel_sizes": (3, 3), "budget": {"layer1.1": 0.6, "layer1.*": 0.3}},
            {"layer1.0": (4, 1, 4), "layer1.1": (4, 2, 4)},
        ),
        (
            {"kernel_sizes": (3, 3), "ranks": {"stem": [1], "layer1.*": 2}},
            {"stem": (4, 1, 4), **dict.fromkeys(NAMES[1:3], (4, 2, 4))},
        ),
        ({"kernel_sizes": (3, 3), "rtol": {"stem": 0.99}}, {"stem": (4, 1, 4)}),
        (
            {"kernel_sizes": {"stem": (3, 3), "layer2.*": (1, 5)}, "ranks": 2},
            {"stem": (4, 2, 4), "layer2.0": (4, 2, 4)},
        ),
    ],
    ids=str,
)
def test_a_network_takes_every_limit_by_pattern(limits, expected):
    chains = decomposed(tt.nn.decompose(network(), **limits))
    assert {name: chain.ranks for name, chain in chains.items()} == expected


def test_kernel_sizes_by_pattern_reach_their_layers():
    chains = decomposed(tt.nn.decompose(network(), {"stem": (3, 3), "layer2.*": (1, 5)}, ranks=2))
    assert [chain.kernel_sizes for chain in chains.values()] == [((3,), (3,)), ((1,), (5,))]


def test_limits_of_excluded_convs_are_refused():
    with pytest.raises(TensorTrainError, match=r"budget = 'layer2\.\*' matches no conv kernel; there are: stem"):
        tt.nn.decompose(network(), budget={"layer2.*": 0.5, "*": 0.25}, exclude=["layer2.*"])


BAD = [
    ({}, "nothing limits the decomposition"),
    ({"kernel_sizes": {"*": "tucker2"}}, "nothing limits the decomposition"),
    ({"budget": {"layer9.*": 0.5}}, r"budget = 'layer9\.\*' matches no conv kernel; there are: stem, layer1\.0"),
    ({"budget": {"*": 0.5, "layer9": 0.5}}, "budget = 'layer9' matches no conv kernel"),
    ({"ranks": {"layer9": 2}}, "ranks = 'layer9' matches no conv kernel"),
    ({"rtol": {"layer9": 0.5}}, "rtol = 'layer9' matches no conv kernel"),
    ({"max_parameters": {"layer9": 50}}, "max_parameters = 'layer9' matches no conv kernel"),
    ({"kernel_sizes": {"layer9": "auto"}, "budget": 0.5}, "kernel_sizes = 'layer9' matches no conv kernel"),
    ({"budget": {}}, "budget = {} matches no conv kernel"),
    ({"budget": {0: 0.5}}, "budget has the key 0; its keys must be patterns"),
    ({"budget": {"stem": 0.5, "*": -1}}, r"budget\['\*'\]: budget = -1 is not a positive fraction"),
    ({"budget": {"stem": "half"}}, r"budget\['stem'\]: budget = 'half' is not a positive fraction"),
    ({"budget": {"stem": None}}, r"budget\['stem'\]: nothing limits"),
    ({"budget": {"stem": {"*": 0.5}}}, r"budget\['stem'\]: budget = {'\*': 0.5} is not"),
    ({"ranks": {"stem": 0}}, r"ranks\['stem'\]: ranks\[0\] = 0 is too small"),
    ({"ranks": {"stem": [2, 2.5]}}, r"ranks\['stem'\]: ranks\[1\] = 2.5 is not an integer"),
    ({"rtol": {"stem": 1.0}}, r"rtol\['stem'\]: rtol = 1.0 is outside"),
    ({"max_parameters": {"stem": 0}}, r"max_parameters\['stem'\]: max_parameters = 0 is too small"),
    ({"kernel_sizes": {"stem": "tucker3"}, "ranks": 2}, r"kernel_sizes\['stem'\]: kernel_sizes = 'tucker3' is unknown"),
    ({"kernel_sizes": {"stem": (3, 0)}, "ranks": 2}, r"kernel_sizes\['stem'\]: kernel_sizes\[1\] = 0 is too small"),
    ({"kernel_sizes": {"stem": 3}, "ranks": 2}, r"kernel_sizes\['stem'\]: kernel_sizes = 3; a sequence"),
    ({"kernel_sizes": {"stem": ()}, "ranks": 2}, r"kernel_sizes\['stem'\]: kernel_sizes = \(\); a sequence"),
    ({"budget": [0.5]}, r"budget = \[0.5\] is not a positive fraction"),
    ({"max_parameters": 50.0}, "max_parameters = 50.0 is not an integer"),
    ({"rtol": "0.5"}, "rtol = '0.5' is outside"),
    ({"ranks": "stem"}, r"ranks\[0\] = 's' is not an integer"),
    ({"kernel_sizes": "tucker3", "ranks": 2}, "kernel_sizes = 'tucker3' is unknown"),
    ({"kernel_sizes": (3, (3, "3")), "ranks": 2}, r"kernel_sizes\[1\]\[1\] = '3' is not an integer"),
]


@pytest.mark.parametrize(("limits", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_limits_are_refused_before_any_work(limits, message):
    with pytest.raises(TensorTrainError, match=message):
        LayerLimits(**limits).by_kernel(KERNELS)
    with pytest.raises(TensorTrainError, match=message):
        tt.nn.decompose(network(), **limits)
    with pytest.raises(TensorTrainError, match=message):
        decompose_kernels(KERNELS, LayerLimits(**limits))


def test_where_nothing_is_decomposed_the_reason_is_that_of_a_named_conv():
    with pytest.raises(TensorTrainError, match=r"no layer can be decomposed; layer1\.0: kernel_sizes = \(3, 4\)"):
        tt.nn.decompose(network(), (3, 4), ranks={"layer1.*": 2})
