"""Conv layers: equal to the dense conv in every attribute, exactly where integers allow it; what they refuse."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import tensortrain as tt
from tensortrain import ConvTensorTrain, TensorTrainError
from tests.support.layers import (
    ATTRIBUTES,
    PLAIN,
    dense_conv,
    hooked,
    integer_chain,
    integers,
    lazily,
    normal,
    own_forward,
    parametrized,
    small_layer,
)


@st.composite
def cases(draw, transposed):
    """A chain, the dense conv it stands for, and an image; sizes, groups and settings of every kind."""
    axes = draw(st.sampled_from([1, 2, 2, 3]))
    order = draw(st.integers(1, 4 if axes < 3 else 2))

    def per_axis(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(axes))

    sizes = [per_axis(1, 3) for _ in range(order)]
    shared = draw(st.sampled_from([1, 1, 2]))
    ranks = [shared * draw(st.integers(1, 2)) for _ in range(order + 1)]
    groups = [shared] * order
    for l in range(1, order):  # one more factor for a core in the middle; the ends keep `shared` common to all
        if ranks[l] % (2 * shared) == 0 and ranks[l + 1] % (2 * shared) == 0 and draw(st.booleans()):
            groups[l] = 2 * shared
    chain = integer_chain(draw(st.integers(0, 99)), sizes, ranks, groups, transposed)
    settings = {"stride": per_axis(1, 3), "dilation": per_axis(1, 2), "padding": per_axis(0, 5)}
    if transposed:
        spread = zip(settings["stride"], settings["dilation"], strict=True)
        settings["output_padding"] = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in spread)
    else:
        settings["padding_mode"] = draw(st.sampled_from(["zeros", "zeros", "reflect", "replicate", "circular"]))
        settings["padding"] = draw(st.sampled_from([settings["padding"], settings["padding"], "same", "valid"]))
        if settings["padding"] == "same":
            settings["stride"] = (1,) * axes
    bias = draw(st.sampled_from([None, integers(1, ranks[0])]))
    x = integers(7, 2, ranks[-1], *per_axis(3, 9))
    return chain, dense_conv(chain, shared, bias, **settings), x


def check_case(case):
    chain, conv, x = case
    try:
        expected = conv(x)
    except (RuntimeError, ValueError):  # an image too small for the kernel or its padding mode
        return
    _, layer_type = PLAIN[len(chain.kernel_size), chain.transposed]
    layer, bias = layer_type.like(conv, chain), conv.bias
    assert torch.equal(layer(x), expected)
    assert torch.equal(layer.weight, conv.weight)
    assert layer.bias is None if bias is None else torch.equal(layer.bias, bias)
    for name in (*ATTRIBUTES, "output_padding", "transposed"):
        assert getattr(layer, name) == getattr(conv, name), name
    merged = layer.merge()
    assert type(merged) is type(conv)
    assert {n: getattr(merged, n) for n in ATTRIBUTES} == {n: getattr(conv, n) for n in ATTRIBUTES}
    assert torch.equal(merged(x), expected)
    assert torch.equal(layer(x[0]), expected[0])


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@given(cases(transposed=False))
def test_a_layer_equals_the_dense_conv_everywhere(case):
    check_case(case)


@given(cases(transposed=True))
def test_a_transposed_layer_equals_the_dense_transposed_conv_everywhere(case):
    check_case(case)


def test_padding_beyond_the_reach_of_the_kernel():
    chain = integer_chain(0, [(1, 3), (3, 1), (1, 1)], [2, 3, 2, 2], [1, 1, 1])
    conv = dense_conv(chain, 1, integers(4, 2), stride=(2, 3), padding=(7, 6))
    x = integers(5, 1, 2, 6, 7)
    assert torch.equal(tt.nn.ConvTT2d.like(conv, chain)(x), conv(x))


@pytest.mark.parametrize("sizes", [[(3, 3), (3, 3)], [(3, 1), (1, 3)], [(1, 1), (5, 5), (1, 1)], [(3, 3)] * 3])
def test_no_step_computes_pixels_that_no_later_step_reads(sizes):
    """The steps' output sizes are those of the exact "same" in `functional`, the smallest that stay exact."""
    chain = integer_chain(0, sizes, [2] * (len(sizes) + 1), [1] * len(sizes))
    layer = tt.nn.ConvTT2d(chain, padding="same")
    macs = []
    for core in layer.cores:
        core.register_forward_hook(lambda m, _, y: macs.append(m.weight.numel() * y.shape[2] * y.shape[3]))
    layer(integers(1, 1, 2, 12, 10))
    assert sum(macs) == chain.macs((12, 10), "same")


@pytest.mark.parametrize("extra", [(0, 0), (1, 0), (2, 1)])
@pytest.mark.parametrize("sizes", [[(3, 3), (2, 3)], [(1, 1), (3, 1), (1, 3), (1, 1)]])
def test_output_size_chooses_what_the_stride_leaves_open(sizes, extra):
    chain = integer_chain(0, sizes, [2] * (len(sizes) + 1), [1] * len(sizes), transposed=True)
    conv = dense_conv(chain, 1, integers(4, 2), stride=(3, 2), padding=(1, 2))
    x = integers(5, 1, 2, 5, 6)
    size = [n + e for n, e in zip(conv(x).shape[2:], extra, strict=True)]
    assert torch.equal(tt.nn.ConvTransposeTT2d.like(conv, chain)(x, size), conv(x, size))


@pytest.mark.parametrize(
    ("conv", "kernel_sizes", "ranks"),
    [
        (nn.Conv2d(4, 3, 5, stride=2, padding=2), (3, 3), 12),
        (nn.Conv2d(4, 4, (3, 2), padding="same", groups=2, bias=False), ((3, 1), (1, 2)), 8),
        (nn.Conv1d(3, 3, 4, padding=2, padding_mode="circular", dtype=torch.float64), (2, 3), 6),
        (nn.ConvTranspose2d(3, 4, 5, stride=2, padding=1, output_padding=1), (3, 3), 12),
        (nn.ConvTranspose1d(4, 4, 3, groups=2), (2, 2), 8),
        (nn.Conv3d(2, 2, 3, dilation=2), (2, 2), 16),
    ],
    ids=str,
)
def test_from_conv_keeps_every_attribute(conv, kernel_sizes, ranks):
    """At ranks where the decomposition is exact the outputs agree too."""
    conv.eval()
    conv.weight.requires_grad_(False)
    layer = PLAIN[conv.weight.dim() - 2, conv.transposed][1].from_conv(conv, kernel_sizes, ranks=ranks)
    x = normal(0, 2, conv.in_channels, *[9] * (conv.weight.dim() - 2), dtype=conv.weight.dtype)
    torch.testing.assert_close(layer(x), conv(x), rtol=1e-4, atol=1e-4)
    assert layer.error is not None
    assert layer.error < 1e-6
    assert not layer.training
    assert all(core.weight.dtype == conv.weight.dtype for core in layer.cores)
    assert not any(core.weight.requires_grad for core in layer.cores)
    assert (layer.cores[0].bias is None) == (conv.bias is None)
    assert all(core.bias is None for core in list(layer.cores)[1:])
    if conv.bias is not None:
        assert torch.equal(layer.cores[0].bias, conv.bias)
        assert layer.cores[0].bias.requires_grad
    merged = layer.merge()
    assert {n: getattr(merged, n) for n in ATTRIBUTES} == {n: getattr(conv, n) for n in ATTRIBUTES}
    assert merged.weight.shape == conv.weight.shape == layer.weight_shape
    assert not merged.training
    assert not merged.weight.requires_grad


def test_a_chain_may_have_more_groups_than_its_conv():
    chain = integer_chain(0, [(2, 2), (2, 2)], [4, 4, 4], [2, 2])
    conv = nn.Conv2d(4, 4, 3, bias=False, dtype=torch.float64)
    layer = tt.nn.ConvTT2d.like(conv, chain)
    merged = layer.merge()
    assert layer.groups == merged.groups == 1
    assert merged.weight.shape == layer.weight_shape == (4, 4, 3, 3)
    x = integers(1, 1, 4, 5, 5)
    assert torch.equal(merged(x), layer(x))
    assert tt.nn.ConvTT2d(chain).merge().groups == 2


def test_the_chain_takes_dtype_and_device_of_the_conv():
    chain = integer_chain(0, [(2,), (2,)], [4, 4, 4], [1, 1])
    layer = tt.nn.ConvTT1d.like(nn.Conv1d(4, 4, 3, dtype=torch.bfloat16, device="meta"), chain)
    assert {(p.dtype, p.device.type) for p in layer.parameters()} == {(torch.bfloat16, "meta")}


def test_equal_seeds_give_equal_layers_and_others_differ():
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 4, 5)
    first, again, other = (tt.nn.ConvTT2d.from_conv(conv, "depthwise", ranks=5, seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(a.weight, b.weight) for a, b in zip(first.cores, again.cores, strict=True))
    assert not any(torch.equal(a.weight, b.weight) for a, b in zip(first.cores, other.cores, strict=True))


def test_from_conv_takes_one_value_for_each_limit():
    conv = nn.Conv1d(4, 4, 5)
    assert tt.nn.ConvTT1d.from_conv(conv, (3, 3), max_parameters=50).ranks == (4, 2, 4)
    for limits in ({"budget": {"*": 0.5}}, {"ranks": {"*": 2}}, {"rtol": {"*": 0.5}}, {"max_parameters": {"*": 50}}):
        with pytest.raises(TensorTrainError, match=next(iter(limits))):
            tt.nn.ConvTT1d.from_conv(conv, (3, 3), **limits)


def test_a_budget_alone_is_enough():
    conv = nn.Conv2d(8, 8, 5, padding=2)
    layer = tt.nn.ConvTT2d.from_conv(conv, budget=0.4)
    assert layer.chain.n_parameters <= 0.4 * conv.weight.numel()
    assert layer(torch.zeros(1, 8, 6, 6)).shape == (1, 8, 6, 6)


def test_the_layer_copies_the_chain_and_its_parameters_train():
    chain = ConvTensorTrain([torch.ones(2, 2, 3), torch.ones(2, 2, 3)])
    layer = tt.nn.ConvTT1d(chain, torch.zeros(2))
    layer(torch.ones(1, 2, 8)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())
    with torch.no_grad():
        layer.cores[0].weight.zero_()
    assert chain.cores[0].sum() == 12
    assert layer.chain.reconstruct().abs().sum() == 0


def test_a_copy_is_independent_and_loads_the_state_dict():
    layer = small_layer(padding=2)
    assert list(layer.state_dict()) == ["cores.0.weight", "cores.0.bias", "cores.1.weight"]
    other = copy.deepcopy(layer)
    with torch.no_grad():
        other.cores[1].weight.zero_()
    x = normal(3, 2, 3, 8, 8)
    assert not torch.equal(other(x), layer(x))
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x), layer(x))
    assert "ranks=(4, 6, 3)" in repr(layer)
    assert f", {sum(core.weight.numel() for core in layer.cores)} of {layer.weight.numel()} parameters" in repr(layer)


def test_a_layer_prints_the_error_of_its_decomposition():
    layer = tt.nn.ConvTT2d.from_conv(nn.Conv2d(4, 4, 3), "separable", ranks=2)
    assert f"error={layer.error:.4g} when decomposed" in repr(layer)
    assert "error" not in repr(tt.nn.ConvTT2d(ConvTensorTrain([normal(0, 2, 2, 3, 3)])))


def test_building_a_layer_draws_no_random_number():
    before = torch.random.get_rng_state()
    small_layer().merge()
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda c: nn.Linear(3, 4), "replaces nn.Conv2d only"),
        (lambda c: nn.ConvTranspose2d(3, 4, 3), "replaces nn.Conv2d only"),
        (lambda c: c.to(torch.complex64), "complex64"),
        (lazily, "run it once"),
        (own_forward, "its own forward"),
        (hooked, "hooks"),
        (parametrized, "remove_parametrizations"),
    ],
    ids=["linear", "transposed", "complex", "lazy", "forward", "hook", "parametrized"],
)
@pytest.mark.filterwarnings("ignore:Lazy modules", "ignore:Complex modules")
def test_from_conv_refuses_what_it_could_not_stand_for(make, message):
    conv = make(nn.Conv2d(3, 4, 3))
    with pytest.raises(TensorTrainError, match=message):
        tt.nn.ConvTT2d.from_conv(conv, (2, 2), ranks=2)


CHAIN = ConvTensorTrain([torch.ones(4, 2, 3, 3), torch.ones(2, 3, 3, 3)])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tt.nn.ConvTT2d(torch.ones(4, 3, 5, 5)), "chain is a Tensor"),
        (lambda: tt.nn.ConvTT1d(CHAIN), "needs a one of 1|2 axes"),
        (lambda: tt.nn.ConvTransposeTT2d(CHAIN), "transposed"),
        (lambda: tt.nn.ConvTT2d(CHAIN.to(torch.complex64)), "complex64"),
        (lambda: tt.nn.ConvTT2d(CHAIN.to(torch.int64)), "int64"),
        (lambda: tt.nn.ConvTT2d(CHAIN, torch.ones(3)), r"bias has shape \(3,\); \(4,\)"),
        (lambda: tt.nn.ConvTT2d(CHAIN, True), r"bias is True; .* torch.zeros\(4\)"),
        (lambda: tt.nn.ConvTT2d(CHAIN, torch.ones(4).double()), "torch.float64 on cpu, the cores torch.float32"),
        (lambda: tt.nn.ConvTT2d(CHAIN, torch.ones(4, device="meta")), "bias is torch.float32 on meta"),
        (lambda: tt.nn.ConvTT2d(CHAIN, stride=0), "stride"),
        (lambda: tt.nn.ConvTT2d(CHAIN, stride=(1, 2, 3)), "stride"),
        (lambda: tt.nn.ConvTT2d(CHAIN, padding=-1), "padding"),
        (lambda: tt.nn.ConvTT2d(CHAIN, padding="full"), "'same', 'valid'"),
        (lambda: tt.nn.ConvTT2d(CHAIN, padding="same", stride=2), "stride"),
        (lambda: tt.nn.ConvTT2d(CHAIN, padding_mode="wrap"), "padding_mode"),
        (lambda: tt.nn.ConvTT2d(CHAIN, dilation=1.5), "dilation"),
        (lambda: tt.nn.ConvTT2d.like(nn.Conv2d(3, 4, 3), CHAIN), "the conv has"),
        (lambda: tt.nn.ConvTT2d.from_conv(nn.Conv2d(3, 4, 5), (3, 2), ranks=2), "kernel_sizes"),
        (lambda: tt.nn.ConvTT2d.from_conv(nn.Conv2d(3, 4, 5), (3, 3)), "nothing limits"),
    ],
)
def test_arguments_that_no_conv_takes_are_refused(make, message):
    with pytest.raises(TensorTrainError, match=message):
        make()


def test_output_padding_must_be_smaller_than_the_stride():
    chain = ConvTensorTrain([torch.ones(3, 4, 3), torch.ones(2, 3, 3)], transposed=True)
    with pytest.raises(TensorTrainError, match="output_padding"):
        tt.nn.ConvTransposeTT1d(chain, stride=2, output_padding=2)
