"""Layers: equal to the dense conv in every attribute, made of plain convs, understood by torch's tools."""

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import tensortrain as tt
import tensortrain.nn
import tensortrain.tt.matrix
from tensortrain import ConvTensorTrain, TensorTrainError

PLAIN = {
    (1, False): (nn.Conv1d, tt.nn.ConvTT1d),
    (2, False): (nn.Conv2d, tt.nn.ConvTT2d),
    (3, False): (nn.Conv3d, tt.nn.ConvTT3d),
    (1, True): (nn.ConvTranspose1d, tt.nn.ConvTransposeTT1d),
    (2, True): (nn.ConvTranspose2d, tt.nn.ConvTransposeTT2d),
    (3, True): (nn.ConvTranspose3d, tt.nn.ConvTransposeTT3d),
}
ATTRIBUTES = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")


def integers(seed, *shape):
    """Small integers in float64, on which every sum below is exact."""
    return torch.randint(-2, 3, shape, generator=torch.Generator().manual_seed(seed)).double()


def normal(seed, *shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def integer_chain(seed, kernel_sizes, ranks, groups, transposed=False):
    cores = [
        integers(seed + l, *((i, o // g) if transposed else (o, i // g)), *k)
        for l, (k, g, o, i) in enumerate(zip(kernel_sizes, groups, ranks[:-1], ranks[1:], strict=True))
    ]
    return ConvTensorTrain(cores, groups=groups, transposed=transposed)


def dense_conv(chain, groups, bias, **settings):
    """The plain module that the layer must equal, put together by hand."""
    plain, _ = PLAIN[len(chain.kernel_size), chain.transposed]
    conv = plain(
        chain.in_channels, chain.out_channels, chain.kernel_size, groups=groups, bias=bias is not None,
        dtype=torch.float64, **settings,
    )  # fmt: skip
    conv.weight = nn.Parameter(chain.reconstruct())
    if bias is not None:
        conv.bias = nn.Parameter(bias)
    return conv


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
    layer = layer_type.like(conv, chain)
    assert torch.equal(layer(x), expected)
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


def test_a_budget_alone_is_enough():
    conv = nn.Conv2d(8, 8, 5, padding=2)
    layer = tt.nn.ConvTT2d.from_conv(conv, budget=0.4)
    assert layer.chain.n_parameters <= 0.4 * conv.weight.numel()
    assert layer(torch.zeros(1, 8, 6, 6)).shape == (1, 8, 6, 6)


def small_layer(**settings):
    chain = ConvTensorTrain([normal(0, 4, 6, 3, 2) / 6, normal(1, 6, 3, 3, 3) / 5])
    return tt.nn.ConvTT2d(chain, normal(2, 4), **settings)


def test_the_layer_copies_the_chain_and_its_parameters_train():
    chain = ConvTensorTrain([torch.ones(2, 2, 3), torch.ones(2, 2, 3)])
    layer = tt.nn.ConvTT1d(chain, torch.zeros(2))
    layer(torch.ones(1, 2, 8)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.parameters())
    with torch.no_grad():
        layer.cores[0].weight.zero_()
    assert chain.cores[0].sum() == 12
    assert layer.chain.reconstruct().abs().sum() == 0


def test_state_dict_and_deepcopy():
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


def test_building_a_layer_draws_no_random_number():
    before = torch.random.get_rng_state()
    small_layer().merge()
    assert torch.equal(before, torch.random.get_rng_state())


class Operations(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.names.append(str(operation))
        return operation(*args, **(kwargs or {}))


def test_forward_runs_nothing_but_its_convs():
    layer = small_layer(padding=(2, 1))
    by_hand = nn.Sequential(*reversed(list(layer.cores)))
    x = normal(0, 2, 3, 9, 9)
    with torch.no_grad(), Operations() as ours:
        layer(x)
    with torch.no_grad(), Operations() as theirs:
        by_hand(x)
    assert ours.names == theirs.names
    assert len(ours.names) == 2


SETTINGS = [
    {"padding": 2},
    {"padding": "same"},
    {"padding": (2, 1), "stride": (2, 1)},
    {"padding": 1, "padding_mode": "circular"},
    {"padding": 1, "padding_mode": "reflect"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_torch_compile_in_one_graph(settings):
    layer, x = small_layer(**settings), normal(0, 2, 3, 9, 9)
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), layer(x))
    grads = torch.autograd.grad(compiled(x).square().sum(), list(layer.parameters()))
    expected = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
    for grad, other in zip(grads, expected, strict=True):
        torch.testing.assert_close(grad, other)


def dynamic_shapes():
    dim = torch.export.Dim
    return ({0: dim("batch"), 2: dim("height", min=6, max=64), 3: dim("width", min=6, max=64)},)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_torch_export_with_dynamic_batch_and_size(settings):
    layer = small_layer(**settings).eval()
    program = torch.export.export(layer, (normal(0, 2, 3, 9, 9),), dynamic_shapes=dynamic_shapes())
    x = normal(1, 5, 3, 16, 20)
    torch.testing.assert_close(program.module()(x), layer(x))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("transposed", [False, True])
def test_onnx_export_runs_elsewhere(transposed):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    layer = small_layer(padding=(2, 1), stride=2)
    if transposed:
        chain = ConvTensorTrain([normal(0, 6, 4, 3, 2), normal(1, 3, 6, 3, 3)], transposed=True)
        layer = tt.nn.ConvTransposeTT2d(chain, normal(2, 4), stride=2, padding=1, output_padding=1)
    layer.eval()
    program = torch.onnx.export(
        layer, (normal(0, 2, 3, 9, 9),), dynamo=True, dynamic_shapes=dynamic_shapes(), verbose=False
    )
    file = io.BytesIO()
    program.save(file)
    session = onnxruntime.InferenceSession(file.getvalue())
    x = normal(1, 5, 3, 16, 20)
    (y,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(y), layer(x).detach(), rtol=1e-4, atol=1e-4)


def test_autocast():
    layer, x = small_layer(padding="same"), normal(0, 2, 3, 9, 9)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
        y.float().sum().backward()
    assert y.dtype == torch.bfloat16
    assert layer.cores[1].weight.grad.dtype == torch.float32
    torch.testing.assert_close(y.float(), layer(x), rtol=0.1, atol=0.1)


@pytest.mark.filterwarnings("ignore")
def test_a_quantisation_tool_swaps_the_convs():
    quantization = pytest.importorskip("torch.ao.quantization")
    net = nn.Sequential(quantization.QuantStub(), small_layer(padding=2), nn.ReLU(), quantization.DeQuantStub()).eval()
    net.qconfig = quantization.default_qconfig
    prepared = quantization.prepare(net)
    x = normal(0, 4, 3, 16, 16)
    prepared(x)
    quantized = quantization.convert(prepared)
    assert all("quantized" in type(core).__module__ for core in quantized[1].cores)
    assert (quantized(x) - net(x)).norm() < 0.1 * net(x).norm()
    assert "QuantizedConv2d" in repr(quantized)


def test_fx_tracing():
    layer, x = small_layer(padding="same"), normal(0, 2, 3, 9, 9)
    assert torch.equal(torch.fx.symbolic_trace(layer)(x), layer(x))


def lazily(conv):
    return nn.LazyConv2d(4, 3)


def own_forward(conv):
    class Standardised(nn.Conv2d):
        def forward(self, x):
            return F.conv2d(x, self.weight / self.weight.std(), self.bias)

    return Standardised(3, 4, 3)


def hooked(conv):
    conv.register_forward_hook(lambda *_: None)
    return conv


def parametrized(conv):
    return nn.utils.parametrizations.weight_norm(conv)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda c: nn.Linear(3, 4), "replaces nn.Conv2d only"),
        (lambda c: nn.ConvTranspose2d(3, 4, 3), "replaces nn.Conv2d only"),
        (lambda c: c.to(torch.complex64), "complex64"),
        (lazily, "run it once"),
        (own_forward, "forward of its own"),
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
def test_bad_arguments(make, message):
    with pytest.raises(TensorTrainError, match=message):
        make()


def test_output_padding_must_be_smaller_than_the_stride():
    chain = ConvTensorTrain([torch.ones(3, 4, 3), torch.ones(2, 3, 3)], transposed=True)
    with pytest.raises(TensorTrainError, match="output_padding"):
        tt.nn.ConvTransposeTT1d(chain, stride=2, output_padding=2)


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=4),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from([(), (4,), (2, 3)]),
)
def test_a_linear_layer_equals_the_dense_one(shape, rank, has_bias, batch):
    ranks = [1, *[rank] * (len(shape) - 1), 1]
    cores = [integers(l, ranks[l], o, i, ranks[l + 1]) for l, (o, i) in enumerate(shape)]
    matrix = tt.TensorTrainMatrix(cores)
    bias = integers(9, matrix.shape[0]) if has_bias else None
    layer = tt.nn.TTLinear(matrix, bias)
    x = integers(8, *batch, matrix.shape[1])
    expected = F.linear(x, matrix.reconstruct(), bias)
    assert torch.equal(layer(x), expected)
    assert torch.equal(layer.merge()(x), expected)
    assert all(torch.equal(a, b) for a, b in zip(layer.matrix.cores, cores, strict=True))


def tt_linear(**settings):
    linear = nn.Linear(24, 12, **settings).eval()
    return linear, tt.nn.TTLinear.from_linear(linear, (3, 4), (4, 6), rtol=1e-6)


@pytest.mark.parametrize("settings", [{}, {"bias": False}, {"dtype": torch.float64}], ids=str)
def test_from_linear_keeps_every_attribute(settings):
    linear, layer = tt_linear(**settings)
    x = normal(0, 5, 24, dtype=linear.weight.dtype)
    torch.testing.assert_close(layer(x), linear(x), rtol=1e-4, atol=1e-5)
    assert layer.error <= 1e-5
    assert not layer.training
    assert (layer.bias is None) == (linear.bias is None)
    names = ["cores.0.weight", "cores.1.weight"]
    assert list(layer.state_dict()) == (names if linear.bias is None else ["bias", *names])
    layer(x).square().sum().backward()
    assert all(p.grad is not None for p in layer.parameters())


@pytest.mark.filterwarnings("ignore")
def test_tools_understand_the_linear_layer():
    linear, layer = tt_linear()
    x = normal(0, 5, 24)
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), layer(x))
    shapes = ({0: torch.export.Dim("batch")},)
    torch.testing.assert_close(torch.export.export(layer, (x,), dynamic_shapes=shapes).module()(x[:3]), layer(x[:3]))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer.cores[0](torch.zeros(1, layer.cores[0].in_features)).dtype == torch.bfloat16
        torch.testing.assert_close(layer(x), linear(x), rtol=0.1, atol=0.1)
    quantized = torch.ao.quantization.quantize_dynamic(layer, {nn.Linear})
    assert all("quantized" in type(core).__module__ for core in quantized.cores)
    assert (quantized(x) - layer(x)).norm() < 0.05 * layer(x).norm()


def test_an_empty_batch_of_a_linear_layer():
    linear, layer = tt_linear()
    for shape in ((0, 24), (2, 0, 24)):
        assert layer(torch.ones(shape)).shape == linear(torch.ones(shape)).shape


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_linear_layer_in_half_precision(dtype):
    linear, layer = tt_linear(dtype=dtype)
    assert {p.dtype for p in layer.parameters()} == {dtype}
    x = normal(0, 5, 24).to(dtype)
    torch.testing.assert_close(layer(x), linear(x), rtol=0.05, atol=0.05)


MATRIX = tt.TensorTrainMatrix([torch.ones(1, 2, 2, 1)])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tt.nn.TTLinear(torch.ones(2, 2)), "matrix is a Tensor"),
        (lambda: tt.nn.TTLinear(MATRIX, torch.ones(3)), r"bias has shape \(3,\)"),
        (lambda: tt.nn.TTLinear(MATRIX, False), r"bias is False; .* torch.zeros\(2\)"),
        (lambda: tt.nn.TTLinear(MATRIX, torch.ones(2).double()), "torch.float64 on cpu, the cores torch.float32"),
        (lambda: tt.nn.TTLinear.from_linear(nn.Conv1d(4, 4, 1), (2, 2), (2, 2), ranks=1), "plain nn.Linear"),
        (lambda: tt.nn.TTLinear.from_linear(hooked(nn.Linear(4, 4)), (2, 2), (2, 2), ranks=1), "hooks"),
        (lambda: tt.nn.TTLinear.from_linear(nn.Linear(4, 4), (2, 3), (2, 2), ranks=1), "out_shape"),
        (lambda: tt.nn.TTLinear.from_linear(nn.Linear(4, 4), (2, 2), (2, 2)), "nothing limits"),
    ],
)
def test_bad_linear_arguments(make, message):
    with pytest.raises(TensorTrainError, match=message):
        make()


class Network(nn.Module):
    """Convs of every kind that a network file must tell apart, one of them used twice."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 5, padding="same", padding_mode="reflect")
        self.body = nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=2, bias=False))
        self.again = self.body[2]
        self.point = nn.Conv2d(8, 8, 1)
        self.up = nn.ConvTranspose2d(8, 4, 5, stride=2, output_padding=1)

    def forward(self, x):
        return self.up(self.point(self.again(self.body(self.stem(x)))))


@pytest.fixture(scope="module")
def decomposed(tmp_path_factory):
    """A network, its decomposition, and the file that holds it."""
    torch.manual_seed(0)
    net = Network().eval()
    small = tt.nn.decompose(net, "separable", ranks=2, exclude=["point"])
    with torch.no_grad():
        small.stem.cores[0].bias.add_(1)
    path = tmp_path_factory.mktemp("network") / "small.safetensors"
    tt.nn.save(small, path)
    return net, small, path


def test_decompose_replaces_the_convs_of_a_copy(decomposed):
    net, small, _ = decomposed
    assert isinstance(net.stem, nn.Conv2d)
    assert [type(m).__name__ for m in (small.stem, small.again, small.point, small.up)] == [
        "ConvTT2d", "ConvTT2d", "Conv2d", "ConvTransposeTT2d",
    ]  # fmt: skip
    assert small.again is small.body[2]
    assert small(normal(0, 2, 3, 9, 9)).shape == net(normal(0, 2, 3, 9, 9)).shape


def test_load_rebuilds_the_network(decomposed):
    _, small, path = decomposed
    fresh = Network().eval()
    loaded = tt.nn.load(fresh, path)
    assert loaded is fresh
    assert loaded.again is loaded.body[2]
    x = normal(0, 2, 3, 9, 9)
    assert torch.equal(loaded(x), small(x))


def test_a_model_may_be_a_single_conv(tmp_path):
    small = tt.nn.decompose(nn.Conv1d(4, 4, 5), (3, 3), ranks=2)
    tt.nn.save(small, tmp_path / "small.safetensors")
    loaded = tt.nn.load(nn.Conv1d(4, 4, 5), tmp_path / "small.safetensors")
    x = normal(0, 1, 4, 9)
    assert torch.equal(loaded(x), small(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n: delattr(n, "up"), "no module 'up'"),
        (lambda n: setattr(n, "up", nn.Conv2d(8, 4, 5)), "needs a transposed conv"),
        (lambda n: setattr(n, "stem", nn.Conv2d(3, 8, 3)), "has shape"),
        (lambda n: setattr(n, "again", nn.Conv2d(4, 8, 3, bias=False)), "and 1 groups in the model"),
        (lambda n: setattr(n, "point", nn.Conv2d(8, 8, 1, bias=False)), "missing nothing, unexpected .'point.bias'"),
        (lambda n: setattr(n, "extra", nn.Linear(2, 2)), "missing .'extra.bias', 'extra.weight'., unexpected nothing"),
        (lambda n: setattr(n, "point", nn.Conv2d(8, 9, 1)), "point.* has shape"),
    ],
)
def test_load_refuses_another_architecture_and_leaves_the_model_alone(decomposed, change, message):
    other = Network()
    change(other)
    keys = list(other.state_dict())
    with pytest.raises(TensorTrainError, match=message):
        tt.nn.load(other, decomposed[2])
    assert list(other.state_dict()) == keys


def test_decompose_says_which_convs_it_takes():
    net = nn.Sequential(nn.Conv2d(4, 4, 5), nn.Conv2d(4, 4, 5))
    small = tt.nn.decompose(net, (3, 3), ranks=2, exclude=["0"])
    assert [type(m).__name__ for m in small] == ["Conv2d", "ConvTT2d"]
    for make in (lazily, own_forward, hooked, parametrized):
        odd = nn.Sequential(nn.Conv2d(4, 4, 5), make(nn.Conv2d(4, 4, 5)))
        assert isinstance(tt.nn.decompose(odd, (3, 3), ranks=2, exclude=["1"])[0], tt.nn.ConvTT2d)
        with pytest.raises(TensorTrainError, match=r"'1': conv .* or exclude it"):
            tt.nn.decompose(odd, (3, 3), ranks=2)
    for arguments, message in [
        ({"include": ["9"]}, "include = '9'"),
        ({"budget": -1.0}, "budget"),
        ({"rtol": 1.0}, "rtol"),
    ]:
        with pytest.raises(TensorTrainError, match=message):
            tt.nn.decompose(net, (3, 3), **{"ranks": 2, **arguments})
    for dense in (nn.Linear(2, 2), small[1]):
        with pytest.raises(TensorTrainError, match="without any dense conv"):
            tt.nn.decompose(dense, budget=0.5)
    assert tt.nn.decompose(small, (3, 3), ranks=2)[1].ranks == small[1].ranks
    with pytest.raises(TensorTrainError, match="no conv can be decomposed"):
        tt.nn.decompose(nn.Conv2d(4, 4, 1), (1,), ranks=2)
    with pytest.raises(TensorTrainError, match="without any conv layer"):
        tt.nn.save(nn.Linear(2, 2), "unused.safetensors")
    with pytest.raises(TensorTrainError, match=r"'1' is a TTLinear, .* merge\(\)"):
        tt.nn.save(nn.Sequential(small, tt_linear()[1]), "unused.safetensors")


def test_decompose_shows_a_bar_for_a_conv_that_takes_long(monkeypatch, capsys):
    monkeypatch.setattr("tensortrain.conv.fit.progress.PATIENCE", 0.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    tt.nn.decompose(nn.Conv2d(4, 4, 5), (3, 3), ranks=2)
    assert "decompose" in capsys.readouterr().err
