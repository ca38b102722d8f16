"""`tt.nn.merge`: whole networks with dense layers again."""

import copy

import pytest
import torch
from torch import nn
from torch.ao.quantization import quantize_dynamic
from torch.nn.utils import parametrizations

import tensortrain as tt
from tensortrain import TensorTrainError
from tests.support.layers import normal, small_layer


class Parts(nn.Module):
    """A layer of every kind; a conv that is used twice, two convs of one weight, and a layer that is frozen."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 5, stride=2, padding=2, padding_mode="reflect")
        self.body = nn.Conv2d(8, 8, 3, padding=1, groups=2, bias=False)
        self.again = self.body
        self.twin = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=2)
        self.twin.weight = self.body.weight
        self.norm = nn.BatchNorm2d(8)
        self.up = nn.ConvTranspose2d(8, 8, 5, stride=2, output_padding=1)
        self.head = nn.Linear(8, 16).requires_grad_(False)

    def forward(self, x):
        x = self.twin(self.again(self.body(self.stem(x))))
        return self.head(self.up(self.norm(x)).movedim(1, -1))


def small_parts():
    torch.manual_seed(0)
    return tt.nn.decompose(Parts(), "separable", ranks=4).double()


def test_a_network_is_dense_again_and_computes_the_same():
    small = small_parts()
    before = copy.deepcopy(small.state_dict())
    dense = tt.nn.merge(small)
    kinds = [type(getattr(dense, name)) for name in ("stem", "body", "twin", "up", "head")]
    assert kinds == [nn.Conv2d, nn.Conv2d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear]
    assert not any(type(module).__module__.startswith("tensortrain") for module in dense.modules())
    assert dense.state_dict().keys() == Parts().state_dict().keys()
    assert dense.again is dense.body
    assert dense.twin.weight is dense.body.weight
    assert [p.requires_grad for p in dense.head.parameters()] == [False, False]
    assert dense.training
    x = normal(0, 2, 3, 9, 9).double()
    torch.testing.assert_close(dense.eval()(x), small.eval()(x))
    assert isinstance(small.stem, tt.nn.ConvTT2d)
    assert all(torch.equal(before[name], value) for name, value in small.state_dict().items())
    Parts().double().load_state_dict(dense.state_dict())  # any program that knows the architecture can read it


def test_linear_layers_embeddings_and_attention():
    matrix = tt.TensorTrainMatrix.random((2, 5), (4, 2), 3)
    table = tt.TensorTrainMatrix.random((4, 5), (2, 4), 3)
    net = nn.ModuleDict({
        "linear": tt.nn.TTLinear(matrix, normal(0, 10)),
        "rows": tt.nn.TTEmbedding(table, padding_idx=1),
        "bags": tt.nn.TTEmbeddingBag(table, mode="sum"),
        "attention": tt.nn.decompose(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0), ranks=2),
    })  # fmt: skip
    dense = tt.nn.merge(net)
    assert [type(dense[name]).__name__ for name in ("linear", "rows", "bags")] == [
        "Linear",
        "Embedding",
        "EmbeddingBag",
    ]
    assert isinstance(dense["attention"].self_attn.q_proj, nn.Linear)
    ids, x = torch.tensor([[0, 1, 19]]), normal(1, 2, 3, 8)
    for name, inputs in (("linear", x), ("rows", ids), ("bags", ids), ("attention", x)):
        torch.testing.assert_close(dense[name](inputs), net[name](inputs), atol=1e-5, rtol=1e-4)


def test_layers_with_equal_but_separate_cores_stay_separate():
    layer = small_layer()
    twin = copy.deepcopy(layer)
    dense = tt.nn.merge(nn.Sequential(layer, twin))
    assert torch.equal(dense[0].weight, dense[1].weight)
    assert dense[0].weight is not dense[1].weight
    twin.cores = layer.cores
    dense = tt.nn.merge(nn.Sequential(layer, twin))
    assert dense[0].weight is dense[1].weight
    assert dense[0].bias is dense[1].bias


def test_one_layer_is_a_model_too_and_so_is_a_wrapped_one_and_one_without_values():
    assert type(tt.nn.merge(small_layer())) is nn.Conv2d
    wrapped = tt.nn.merge(nn.DataParallel(small_layer()))
    assert type(wrapped) is nn.DataParallel
    assert type(wrapped.module) is nn.Conv2d
    assert tt.nn.merge(small_parts().to("meta")).twin.weight.is_meta
    assert tt.nn.merge(small_layer().half()).weight.dtype == torch.float16


def hooked_layer():
    layer = small_layer()
    layer.register_forward_hook(lambda *_: None)
    return layer


def normed_layer():
    layer = small_layer()
    parametrizations.weight_norm(layer.cores[1])
    return layer


def uncopyable():
    layer = small_layer()
    layer.handle = (n for n in ())
    return layer


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Sequential(nn.Conv2d(1, 1, 3)), "a Sequential without any layer of tensortrain.nn"),
        (lambda: nn.Sequential(hooked_layer()), "'0' cannot be merged: .* hooks or parametrizations"),
        (lambda: nn.Sequential(normed_layer()), "'0' cannot be merged: .* hooks or parametrizations"),
        (uncopyable, "a ConvTT2d that cannot be copied"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(TensorTrainError, match=message):
        tt.nn.merge(make())


@pytest.mark.filterwarnings("ignore")  # of this part of torch
def test_quantised_cores_are_named():
    linear = tt.nn.LowRankLinear(normal(0, 5, 2), normal(1, 2, 4))
    quantised = quantize_dynamic(nn.Sequential(linear), {nn.Linear})
    with pytest.raises(TensorTrainError, match=r"'0' cannot be merged: .*quantised"):
        tt.nn.merge(quantised)
