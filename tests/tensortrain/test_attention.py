"""Attention modules that call their projections: equal to torch's and torchvision's under every option."""

import math
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import tensortrain as tt
from tensortrain import TensorTrainError
from tensortrain.compression.layers.exchange import exchange, exchangeable
from tensortrain.nn.attention import MultiheadAttention, WindowAttention

pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched", "ignore:enable_nested_tensor")


@st.composite
def attentions(draw):
    """A module of torch with random options, and the arguments of a call."""
    torch.manual_seed(draw(st.integers(0, 99)))
    heads, other, first = draw(st.integers(1, 3)), draw(st.sampled_from([None, 6])), draw(st.booleans())
    flags = {name: draw(st.booleans()) for name in ("bias", "add_bias_kv", "add_zero_attn")}
    module = nn.MultiheadAttention(
        12, heads, kdim=other, vdim=other, batch_first=first, dtype=torch.float64, **flags
    ).eval()
    with torch.no_grad():
        for p in module.parameters():
            p.normal_(std=0.3)
    batch, queries, keys = 2, 5, 4
    inputs = [
        torch.randn(batch, n, d, dtype=torch.float64)
        for n, d in ((queries, 12), (keys, other or 12), (keys, other or 12))
    ]
    padding = draw(st.sampled_from([None, "bool", "float"]))
    mask = draw(st.sampled_from([None, (queries, keys), (batch * heads, queries, keys)]))
    values = {
        "key_padding_mask": padding and torch.rand(batch, keys) > 0.6,
        "attn_mask": mask and torch.rand(mask) > 0.7,
    }
    for name, value in values.items():
        if value is not None:
            value[..., 0] = False  # a query that sees nothing has no weights
            values[name] = value.double() if padding == "float" else value
    if draw(st.booleans()):  # without a batch
        inputs = [x[0] for x in inputs]
        values["key_padding_mask"] = None if padding is None else values["key_padding_mask"][0]
        values["attn_mask"] = (
            values["attn_mask"][:heads] if mask is not None and len(mask) == 3 else values["attn_mask"]
        )
    elif not first:
        inputs = [x.transpose(0, 1) for x in inputs]
    values |= {"need_weights": draw(st.booleans()), "average_attn_weights": draw(st.booleans())}
    if mask is not None and draw(st.booleans()):
        causal = torch.ones(queries, keys).triu(1).bool()
        values["attn_mask"] = (
            causal if values["attn_mask"].dtype == torch.bool else causal.double().masked_fill(causal, -math.inf)
        )
        values["is_causal"] = True
    return module, inputs, values


@given(attentions())
def test_attention_equals_torchs(case):
    module, inputs, options = case
    ours = MultiheadAttention.like(module)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in module.parameters())
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, weights = module(*inputs, **options)
        output, own_weights = ours(*inputs, **options)
    torch.testing.assert_close(output, expected)
    assert (own_weights is None) == (weights is None)
    if weights is not None:
        torch.testing.assert_close(own_weights, weights)


@pytest.mark.parametrize("version", ["ShiftedWindowAttention", "ShiftedWindowAttentionV2"])
@pytest.mark.parametrize(
    "window", [([4, 4], [2, 2]), ([4, 3], [0, 0]), ([4, 4], [0, 2]), ([7, 7], [3, 3]), ([3, 4], [1, 2])]
)
@pytest.mark.parametrize("bias", [True, False])
def test_window_attention_equals_torchvisions(version, window, bias):
    import zoo._torchvision  # noqa: F401 - before torchvision is imported

    swin = pytest.importorskip("torchvision.models.swin_transformer")
    torch.manual_seed(0)
    module = getattr(swin, version)(12, *window, 3, qkv_bias=bias).double().eval()
    if bias:
        nn.init.normal_(module.qkv.bias)
    ours = WindowAttention.like(module)
    assert ours.state_dict().keys() == module.state_dict().keys()
    for size in ((8, 8), (7, 9), (5, 6)):
        x = torch.randn(2, *size, 12, dtype=torch.float64)
        torch.testing.assert_close(ours(x), module(x))


@pytest.mark.parametrize("option", ["add_bias_kv", "add_zero_attn"])
@pytest.mark.parametrize("need_weights", [False, True])
def test_a_causal_hint_hides_what_it_hides_in_torch(option, need_weights):
    torch.manual_seed(0)
    module = nn.MultiheadAttention(8, 2, batch_first=True, **{option: True}).eval()
    x, mask = torch.randn(1, 5, 8), torch.ones(5, 5).triu(1).bool()
    options = {"attn_mask": mask, "is_causal": True, "need_weights": need_weights}
    torch.testing.assert_close(MultiheadAttention.like(module)(x, x, x, **options)[0], module(x, x, x, **options)[0])


X = torch.randn(3, 5, 8)
OURS = MultiheadAttention.like(nn.MultiheadAttention(8, 2, batch_first=True))


@pytest.mark.parametrize(
    ("inputs", "options", "words"),
    [
        ((X, X, X), {"is_causal": True}, "attn_mask, which is None"),
        ((X, X, X), {"attn_mask": torch.zeros(2, 5, 5)}, r"\(2, 5, 5\); legal: \(5, 5\) or \(6, 5, 5\)"),
        ((X, X, X), {"attn_mask": torch.zeros(1, 5)}, r"attn_mask has shape \(1, 5\)"),
        ((X, X, X), {"attn_mask": torch.zeros(5)}, r"attn_mask has shape \(5,\)"),
        ((X[0], X[0], X[0]), {"attn_mask": torch.zeros(6, 5, 5)}, r"legal: \(5, 5\) or \(2, 5, 5\)"),
        ((X, X, X), {"attn_mask": torch.ones(5, 5, dtype=torch.uint8)}, r"torch.uint8.*\.bool\(\)"),
        ((X, X, X), {"key_padding_mask": torch.ones(3, 5, dtype=torch.int64)}, "key_padding_mask has dtype"),
        ((X, X, X), {"key_padding_mask": torch.ones(1, 5)}, r"key_padding_mask has shape \(1, 5\); legal: \(3, 5\)"),
        ((X[0], X[0], X[0]), {"key_padding_mask": torch.ones(1, 5)}, r"legal: \(5,\)"),
        ((X[:1], X, X), {}, "batch sizes 1, 3 and 3"),
        ((X, X[:1], X[:1]), {}, "batch sizes 3, 1 and 1"),
        ((X, X, X[:, :4]), {}, "5 positions and value 4"),
        ((X, X[0], X[0]), {}, "3, 2 and 2 axes"),
        ((X[None], X[None], X[None]), {}, "4, 4 and 4 axes"),
    ],
)
@pytest.mark.parametrize("need_weights", [True, False])
def test_what_torch_refuses_is_refused(inputs, options, words, need_weights):
    with pytest.raises(TensorTrainError, match=words):
        OURS(*inputs, need_weights=need_weights, **options)


def test_gradients_and_dropout():
    module = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True)
    ours = MultiheadAttention.like(module)
    assert ours.training
    x = torch.randn(2, 5, 8)
    assert not torch.equal(ours(x, x, x)[0], ours(x, x, x)[0])
    ours(x, x, x)[0].sum().backward()
    assert ours.q_proj.weight.grad is not None


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_transformer_encoder_goes_on_as_before(norm_first):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=norm_first)
    encoder = nn.TransformerEncoder(layer, 2).eval()
    x = torch.randn(3, 5, 8)
    padding = torch.tensor([[False] * 5, [False] * 4 + [True], [False] * 3 + [True] * 2])
    with torch.no_grad():
        plain, masked = encoder(x), encoder(x, src_key_padding_mask=padding)
        ours = exchange(encoder, exchangeable(encoder))
        torch.testing.assert_close(ours(x), plain)
        torch.testing.assert_close(ours(x, src_key_padding_mask=padding)[~padding], masked[~padding])
    assert exchangeable(ours) == {}


class FusedQkv(nn.Module):
    """What the attention modules of timm's BEiT, EVA and Swin V2 have in common."""

    def __init__(self, separate):
        super().__init__()
        self.qkv, self.bias = nn.Linear(4, 12, bias=False), nn.Parameter(torch.randn(12))
        self.qkv_bias_separate = separate

    def forward(self, x):
        if self.qkv_bias_separate:
            return self.qkv(x) + self.bias
        return nn.functional.linear(x, self.qkv.weight, self.bias)


def test_timms_modules_are_told_to_call_their_layer():
    module = nn.Sequential(FusedQkv(False), FusedQkv(True))
    assert list(exchangeable(module)) == ["0"]
    x = torch.randn(3, 4)
    expected = module[0](x)
    assert exchange(module, ["0"])[0].qkv_bias_separate
    torch.testing.assert_close(module[0](x), expected)


class OwnForward(nn.MultiheadAttention):
    def forward(self, x):
        return super().forward(x, x, x)[0]


def test_what_is_not_exchanged():
    plain = nn.MultiheadAttention(4, 2)
    nn.utils.parametrizations.weight_norm(plain, "in_proj_weight")
    assert exchangeable(nn.ModuleList([OwnForward(4, 2), plain, nn.Linear(2, 2)])) == {}
    with pytest.raises(TensorTrainError, match=r"nn\.MultiheadAttention is needed"):
        MultiheadAttention.like(OwnForward(4, 2))
    with pytest.raises(TensorTrainError, match="ShiftedWindowAttention is needed"):
        WindowAttention.like(nn.Linear(2, 2))


def test_attention_with_hooks_stays_as_it_is() -> None:
    torch.manual_seed(0)
    net = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    net.self_attn.register_forward_hook(lambda module, args, output: (output[0] * 0 + 1, output[1]))
    x = torch.randn(32, 5, 16)
    result = tt.compress(net, x, parameters=0.9)
    assert isinstance(result.model.self_attn, nn.MultiheadAttention)
    assert len(result.model.self_attn._forward_hooks) == 1
    assert any(layer.name.startswith("self_attn") and layer.note for layer in result.report.layers)


@pytest.mark.parametrize("sizes", [{}, {"kdim": 6, "vdim": 10}])
def test_each_projection_keeps_whether_it_is_trained(sizes: dict[str, int]) -> None:
    net = nn.MultiheadAttention(8, 2, add_bias_kv=True, **sizes)
    names = [name for name, _ in net.named_parameters()]
    for number, parameter in enumerate(net.parameters()):
        parameter.requires_grad_(number % 2 == 1)
    small = tt.nn.MultiheadAttention.like(net)
    trained = {name: getattr_of(net, name).requires_grad for name in names}
    joint = "in_proj_weight" in trained
    for part in "qkv":
        layer = getattr(small, f"{part}_proj")
        assert layer.weight.requires_grad == trained["in_proj_weight" if joint else f"{part}_proj_weight"]
        assert layer.bias.requires_grad == trained["in_proj_bias"]
    for name in ("out_proj.weight", "out_proj.bias", "bias_k", "bias_v"):
        assert getattr_of(small, name).requires_grad == trained[name]


def getattr_of(module: nn.Module, name: str) -> torch.Tensor:
    """The parameter of a dotted name."""
    return dict(module.named_parameters())[name]
