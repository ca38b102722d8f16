"""Layers whose cores are not as they were built: hooked, pruned, quantised, exchanged or of another size."""

import copy
import functools

import pytest
import torch
from torch import nn
from torch.ao import quantization
from torch.nn.utils import parametrizations, prune, weight_norm

import tensortrain as tt
from tensortrain import TensorTrainError
from tests.support.layers import normal

PLAIN = {
    "ConvTT2d": lambda: nn.Conv2d(6, 8, 5, groups=2, padding=2),
    "ConvTT1d": lambda: nn.Conv1d(6, 8, 5, bias=False),
    "ConvTransposeTT2d": lambda: nn.ConvTranspose2d(6, 8, 5, stride=2),
    "LowRankLinear": lambda: nn.Linear(6, 8),
    "TTLinear": lambda: nn.Linear(6, 8),
    "TTEmbedding": lambda: nn.Embedding(20, 6, padding_idx=1),
    "TTEmbeddingBag": lambda: nn.EmbeddingBag(20, 6),
}
INPUTS = {
    "ConvTT2d": (2, 6, 7, 7),
    "ConvTT1d": (2, 6, 9),
    "ConvTransposeTT2d": (2, 6, 4, 4),
    "LowRankLinear": (2, 6),
    "TTLinear": (2, 6),
}


def plain_network(kind):
    torch.manual_seed(0)
    return nn.ModuleDict({"layer": PLAIN[kind]()})


@functools.cache
def factorised_network(kind):
    net = plain_network(kind)
    if kind in ("LowRankLinear", "ConvTT1d", "ConvTT2d", "ConvTransposeTT2d"):
        net = tt.nn.decompose(net, (3, 3), ranks=2)
    elif kind == "TTLinear":
        net["layer"] = tt.nn.TTLinear.from_linear(net["layer"], ranks=2)
    else:
        net["layer"] = getattr(tt.nn, kind).from_embedding(net["layer"], ranks=2)
    assert type(net["layer"]).__name__ == kind
    return net


def network(kind):
    """A network with one layer of this kind."""
    return copy.deepcopy(factorised_network(kind))


def outputs(kind, net):
    return net["layer"](normal(1, *INPUTS[kind]) if kind in INPUTS else torch.tensor([[0, 1], [19, 7]]))


every_kind = pytest.mark.parametrize("kind", PLAIN)


# ---- changes of a layer --------------------------------------------------------------------------------------


def pruned(layer):
    prune.l1_unstructured(layer.cores[0], "weight", 0.5)


def normed(layer):
    parametrizations.weight_norm(layer.cores[1])


def normed_by_a_hook(layer):
    weight_norm(layer.cores[0])


def with_buffer(layer):
    layer.register_buffer("scale", torch.ones(2))


def with_buffer_of_a_core(layer):
    layer.cores[1].register_buffer("scale", torch.ones(2))


def with_second_bias(layer):
    layer.cores[1].register_parameter("bias", nn.Parameter(torch.ones(layer.cores[1].weight.shape[0])))


def with_half_core(layer):
    layer.cores[0].half()


def with_integers(layer):
    for core in layer.cores:
        core.weight = nn.Parameter(core.weight.detach().int(), requires_grad=False)


def with_core_of_another_size(layer):
    weight = layer.cores[0].weight
    layer.cores[0].weight = nn.Parameter(weight.new_ones(weight.shape[0] + 2, *weight.shape[1:]))


def with_third_core(layer):
    layer.cores.append(copy.deepcopy(layer.cores[1]))


def with_own_forward(layer):
    plain_forward = layer.forward
    layer.forward = lambda x: 2 * plain_forward(x)


def with_identity(layer):
    layer.cores[0] = nn.Identity()


def with_norm(layer):
    layer.cores[0] = nn.LayerNorm(8)


def without_parameter(layer):
    weight = layer.cores[1].weight.detach()
    del layer.cores[1].weight
    layer.cores[1].weight = weight


CHANGES = {
    with_buffer: "",  # merge names it in other words
    with_buffer_of_a_core: "also holds cores.1.scale, which a .* does not have; .* otherwise delete them",
    with_second_bias: "also holds cores.1.bias",
    with_half_core: r"the dtypes torch.float16, torch.float32; one real floating dtype is needed: .*\.float\(\)",
    with_integers: "the dtypes torch.int32; one real floating dtype is needed",
    with_core_of_another_size: r"its cores do not fit the layer|cores\[[01]\] has",
    with_third_core: r"its cores do not fit the layer|cores\[[12]\] has",
    with_identity: r"cores\[0\] is a Identity; a plain nn\.(Conv|Linear|Embedding)\w* is needed",
    with_norm: r"cores\[0\] is a LayerNorm; a plain nn\.(Conv|Linear|Embedding)\w* is needed",
    without_parameter: r"cores\.1\.weight is not a parameter; make it an nn\.Parameter",
}


@every_kind
@pytest.mark.filterwarnings("ignore")  # the older weight norm is deprecated
@pytest.mark.parametrize("change", [pruned, normed, normed_by_a_hook])
def test_save_names_how_to_remove_a_parametrization(tmp_path, kind, change):
    net = network(kind)
    change(net["layer"])
    message = r"'layer' cannot be saved: it also holds cores\.[01]\..*prune\.remove or .*parametrize\.remove_param"
    with pytest.raises(TensorTrainError, match=message):
        tt.nn.save(net, tmp_path / "net.safetensors")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TensorTrainError, match=r"'layer' cannot be merged: .*hooks or parametrizations; remove them"):
        tt.nn.merge(net)


@every_kind
@pytest.mark.parametrize("change", CHANGES)
def test_save_and_merge_refuse_cores_that_do_not_make_up_the_layer(tmp_path, kind, change):
    net = network(kind)
    change(net["layer"])
    with pytest.raises(TensorTrainError, match=f"'layer' cannot be saved: .*({CHANGES[change]})"):
        tt.nn.save(net, tmp_path / "net.safetensors")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TensorTrainError, match=f"'layer' cannot be merged: .*({CHANGES[change]})"):
        tt.nn.merge(net)


@every_kind
def test_a_layer_that_has_diverged_is_merged_but_not_saved(tmp_path, kind):
    net = network(kind)
    net["layer"].cores[0].weight.data.fill_(torch.nan)
    with pytest.raises(
        TensorTrainError, match=r"'layer' cannot be saved: cores\[0\] holds \d+ NaN or infinite entries"
    ):
        tt.nn.save(net, tmp_path / "net.safetensors")
    assert list(tmp_path.iterdir()) == []
    assert type(tt.nn.merge(net)["layer"]) is type(PLAIN[kind]())


def hooked(layer):
    layer.register_forward_hook(lambda *_: None)


def hooked_cores(layer):
    for core in layer.cores:
        core.register_forward_pre_hook(lambda *_: None)


def with_cache(layer):
    layer.register_forward_hook(lambda module, _, output: setattr(module, "activation", output))


def with_passing_buffer(layer):
    layer.register_buffer("counter", torch.zeros(1), persistent=False)


def with_compiled_core(layer):
    layer.cores[1] = torch.compile(layer.cores[1], backend="eager")


@every_kind
@pytest.mark.parametrize("change", [hooked, hooked_cores, with_cache, with_passing_buffer, with_compiled_core])
def test_what_is_not_in_a_file_does_not_hinder_save(tmp_path, kind, change):
    net = network(kind)
    expected = outputs(kind, net)
    change(net["layer"])
    if change is not with_compiled_core:  # compilation takes time
        outputs(kind, net)
    tt.nn.save(net, tmp_path / "net.safetensors")
    assert torch.equal(outputs(kind, tt.nn.load(plain_network(kind), tmp_path / "net.safetensors")), expected)


def test_a_layer_of_fewer_ranks_is_saved_and_merged(tmp_path):
    """Who shortens both cores has a layer that computes, so it can be saved as well."""
    net = network("LowRankLinear")
    outer, inner = net["layer"].cores
    outer.weight, inner.weight = nn.Parameter(outer.weight[:, :1]), nn.Parameter(inner.weight[:1])
    tt.nn.save(net, tmp_path / "net.safetensors")
    expected = outputs("LowRankLinear", net)
    loaded = tt.nn.load(plain_network("LowRankLinear"), tmp_path / "net.safetensors")
    assert loaded["layer"].rank == 1
    assert torch.equal(outputs("LowRankLinear", loaded), expected)
    torch.testing.assert_close(outputs("LowRankLinear", tt.nn.merge(net)), expected)


@pytest.mark.parametrize(
    "change", [pruned, normed, with_buffer, with_half_core, with_third_core, with_identity, with_own_forward]
)
@pytest.mark.parametrize("at", ["conv", "linear"])
def test_results_refuse_such_layers_too(tmp_path, at, change):
    net = nn.ModuleDict({"conv": nn.Conv2d(8, 8, 3), "linear": nn.Linear(8, 8)})
    result = tt.compress(net, parameters=0.6, at_most={"*": 0.7})
    change(result.model[at])
    with pytest.raises(TensorTrainError, match=f"'{at}' cannot be saved"):
        result.save(tmp_path / "net.safetensors")
    assert list(tmp_path.iterdir()) == []


# ---- quantised cores -----------------------------------------------------------------------------------------


def quantised(net):
    return quantization.quantize_dynamic(net, {nn.Linear}, torch.qint8)


def mixed(kind):
    return nn.ModuleDict({"conv": nn.Conv2d(8, 8, 5), **network(kind)})


@pytest.mark.filterwarnings("ignore")  # this part of torch is deprecated
@pytest.mark.parametrize("kind", ["LowRankLinear", "TTLinear"])
def test_quantised_cores_are_named(tmp_path, kind):
    net = quantised(mixed(kind))
    reason = r"cores\[0\] is quantised; use the network as it was before it was quantised"
    with pytest.raises(TensorTrainError, match=f"'layer' cannot be saved: {reason}"):
        tt.nn.save(net, tmp_path / "net.safetensors")
    with pytest.raises(TensorTrainError, match=f"'layer' cannot be merged: {reason}"):
        tt.nn.merge(net)
    result = tt.compress(net, parameters=0.6)
    assert reason.replace("\\", "") in str(result.report)
    assert type(result.model["conv"]) is tt.nn.ConvTT2d
    with pytest.raises(TensorTrainError, match=f"'layer' cannot be saved: {reason}"):
        result.save(tmp_path / "net.safetensors")
    with pytest.raises(TensorTrainError, match=f"none of 1 layers can be replaced; layer: {reason}"):
        tt.compress(nn.ModuleDict({"layer": net["layer"]}), parameters=0.6)
    assert list(tmp_path.iterdir()) == []
    assert "parameters" in repr(net)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_layer_of_quantised_cores_is_not_decomposed_again():
    net = quantised(mixed("LowRankLinear"))
    with pytest.warns(UserWarning, match=r"1 of 2 layers stay as they are. layer: cores\[0\] is quantised"):
        small = tt.nn.decompose(net, (3, 3), ranks=2)
    assert type(small["conv"]) is tt.nn.ConvTT2d
    with pytest.raises(TensorTrainError, match=r"no layer can be decomposed; layer: cores\[0\] is quantised"):
        tt.nn.decompose(net, (3, 3), ranks=2, include="layer")


@pytest.mark.filterwarnings("ignore")  # this part of torch is deprecated
def test_quantised_convs_and_embeddings_are_named(tmp_path):
    settings = {"ConvTT1d": quantization.default_qconfig, "TTEmbedding": quantization.float_qparams_weight_only_qconfig}
    for kind, setting in settings.items():
        net = network(kind)
        net["layer"].cores[0].qconfig = setting
        net = quantization.convert(quantization.prepare(net.eval()))
        with pytest.raises(TensorTrainError, match=r"'layer' cannot be saved: cores\[0\] is quantised"):
            tt.nn.save(net, tmp_path / "net.safetensors")
        with pytest.raises(TensorTrainError, match=r"'layer' cannot be merged: cores\[0\] is quantised"):
            tt.nn.merge(net)
        assert "parameters" in repr(net)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [with_identity, with_half_core, with_second_bias])
def test_other_cores_are_left_alone_by_decompose_and_compress(change):
    net = nn.ModuleDict({"conv": nn.Conv2d(8, 8, 5), **network("LowRankLinear")})
    change(net["layer"])
    with pytest.warns(UserWarning, match="1 of 2 layers stay as they are. layer: .*core"):
        assert type(tt.nn.decompose(net, (3, 3), ranks=2)["conv"]) is tt.nn.ConvTT2d
    assert type(tt.compress(net, parameters=0.6).model["conv"]) is tt.nn.ConvTT2d
    assert "LowRankLinear" in repr(net)


@pytest.mark.parametrize("at", [0, 1])
def test_the_text_of_a_layer_without_a_core(at):
    layer = network("LowRankLinear")["layer"]
    assert "6, 8, rank=2, bias=True, 28 of 48 parameters, error=" in repr(layer)
    layer.cores[at] = nn.Identity()
    assert f"6, 8, rank=2, bias={at == 1}" in repr(layer)


# ---- attention that cannot be exchanged ----------------------------------------------------------------------


def encoder():
    return nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 8)).eval()


def hooked_attention(net):
    net[0].self_attn.register_forward_hook(lambda *_: None)


def normed_attention(net):
    parametrizations.weight_norm(net[0].self_attn.out_proj)


def own_attention(net):
    net[0].self_attn.forward = lambda *_: None


def shared_attention(net):
    net.append(copy.deepcopy(net[0]))
    net[2].self_attn.in_proj_weight = net[0].self_attn.in_proj_weight


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (hooked_attention, "it has hooks or parametrizations"),
        (normed_attention, "it has hooks or parametrizations"),
        (own_attention, "it has its own forward or further tensors"),
        (shared_attention, r"it shares its in_proj_weight with 2\.self_attn\.in_proj_weight"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda net: net, nn.DataParallel], ids=["bare", "wrapped"])
def test_load_says_why_attention_cannot_be_exchanged(tmp_path, wrap, change, reason):
    tt.compress(encoder(), parameters=0.6).save(tmp_path / "small.safetensors")
    bare = encoder()
    change(bare)
    net = wrap(bare)
    modules, tensors = dict(net.named_modules()), {name: id(p) for name, p in net.named_parameters()}
    message = rf"0\.self_attn' must be exchanged to load this file, but {reason}; remove that first"
    message = message.replace("with 2", r"with (module\.)?2")
    with pytest.raises(TensorTrainError, match=message):
        tt.nn.load(net, tmp_path / "small.safetensors")
    assert (dict(net.named_modules()), {name: id(p) for name, p in net.named_parameters()}) == (modules, tensors)


def test_attention_outside_of_the_file_does_not_hinder_load(tmp_path):
    tt.compress(encoder(), parameters=0.95, include="1").save(tmp_path / "small.safetensors")
    net = encoder()
    hooked_attention(net)
    loaded = tt.nn.load(net, tmp_path / "small.safetensors")
    assert type(loaded[1]) is tt.nn.LowRankLinear


def test_load_names_a_layer_that_cannot_be_replaced(tmp_path):
    tt.compress(encoder(), parameters=0.6).save(tmp_path / "small.safetensors")
    net = encoder()
    net[0].linear1.register_forward_hook(lambda *_: None)
    with pytest.raises(TensorTrainError, match=r"'0\.linear1' of the model cannot be replaced: linear has hooks"):
        tt.nn.load(net, tmp_path / "small.safetensors")


# ---- nothing to save -----------------------------------------------------------------------------------------


def test_a_budget_that_leaves_every_layer_as_it_is(tmp_path):
    result = tt.compress(nn.Sequential(nn.Linear(8, 8)), parameters=1.0)
    with pytest.raises(TensorTrainError, match=r"leaves every layer as it is.*a smaller budget, or .* torch\.save"):
        result.save(tmp_path / "net.safetensors")
    with pytest.raises(TensorTrainError, match=r"without any layer of tensortrain\.nn that a file can hold"):
        tt.nn.save(result.model, tmp_path / "net.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_attention_with_hooks_is_refused_as_they_would_be_lost() -> None:
    attention = nn.MultiheadAttention(8, 2)
    attention.register_forward_hook(lambda module, inputs, output: (output[0] * 0, output[1]))
    with pytest.raises(TensorTrainError, match="attention has hooks that the module would lose"):
        tt.nn.MultiheadAttention.like(attention)
    import zoo._torchvision  # noqa: F401 - before torchvision is imported

    window = pytest.importorskip("torchvision.models.swin_transformer").ShiftedWindowAttention(8, [2, 2], [0, 0], 2)
    window.register_forward_pre_hook(lambda module, inputs: None)
    with pytest.raises(TensorTrainError, match="attention has hooks that the module would lose"):
        tt.nn.WindowAttention.like(window)


@pytest.mark.parametrize(
    "factors",
    [
        (torch.ones(5, 2) * 1j, torch.ones(2, 3)),
        (torch.ones(5, 2), torch.ones(2, 3, dtype=torch.int64)),
        ([[1.0]], torch.ones(1, 3)),
        (torch.ones(5), torch.ones(3)),
    ],
    ids=["complex", "whole numbers", "list", "vectors"],
)
def test_factors_that_are_no_real_matrices_are_refused(factors) -> None:
    words = r"a real floating matrix is needed|a torch\.Tensor is needed|dtype torch\.int64"
    with pytest.raises(TensorTrainError, match=words):
        tt.nn.LowRankLinear.like(nn.Linear(3, 5), *factors)


@pytest.mark.parametrize("shape", [(0, 7), (2, 7), (12, 2), ()])
def test_tt_linear_refuses_inputs_of_another_width_as_linear_does(shape) -> None:
    layer = tt.nn.TTLinear.from_linear(nn.Linear(12, 6), (2, 3), (3, 4), ranks=9)
    with pytest.raises(TensorTrainError, match=r"must have the shape \(…, 12\)"):
        layer(torch.zeros(shape))
    assert layer(torch.zeros(0, 12)).shape == (0, 6)


@pytest.mark.parametrize("output_size", [[], [7, 7, 7, 9], [2, 7]])
def test_output_sizes_of_a_wrong_length_are_refused(output_size) -> None:
    chain = tt.ConvTensorTrain([torch.ones(2, 2, 3)] * 2, transposed=True)
    layer = tt.nn.ConvTransposeTT1d(chain, stride=2)
    with pytest.raises(TensorTrainError, match="must have 1 entries, or one for each axis of the output"):
        layer(torch.ones(1, 2, 3), output_size)
    assert layer(torch.ones(1, 2, 3), [10]).shape == layer(torch.ones(1, 2, 3), [1, 2, 10]).shape == (1, 2, 10)
