"""Networks in files: errors of `load`, which leave the model as it is, and what `save` refuses or leaves out."""

import pytest
import torch
from torch import nn

import tensortrain as tt
from tensortrain.compression.state_dicts.records import read_changes, read_network


class Broadcast(nn.Linear):
    """A layer with a buffer whose entries share one place, to which torch does not write."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.register_buffer("mask", torch.ones(1).expand(16))


class Refusing(nn.Linear):
    """A layer that fails after its tensors are loaded."""

    def _load_from_state_dict(self, *args):
        super()._load_from_state_dict(*args)
        self.weight = nn.Parameter(torch.zeros(1))
        raise KeyError("refused")


def state_of(model):
    """All modules and tensors of a model, and copies of the tensors' entries."""
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    entries = [tensor.detach().clone() for tensor in tensors.values()]
    return dict(model.named_modules()), {name: id(x) for name, x in tensors.items()}, entries


@pytest.mark.parametrize("last", [Broadcast, Refusing])
def test_an_error_while_tensors_are_loaded_leaves_the_model_as_it_is(tmp_path, last):
    """By then the attention is exchanged, layers are replaced, and other tensors are written."""

    def make(last):
        attention = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        return nn.Sequential(attention, nn.BatchNorm1d(16), last(16, 16)).eval()

    torch.manual_seed(0)
    saved = make(Broadcast) if last is Broadcast else make(nn.Linear)
    tt.compress(saved, torch.randn(40, 16, 16), parameters=0.7, exclude="2").save(tmp_path / "small.safetensors")
    net = make(last)
    modules, tensors, entries = state_of(net)
    with pytest.raises(tt.TensorTrainError, match=r"cannot be loaded into the model: .*(mask|KeyError: 'refused')"):
        tt.nn.load(net, tmp_path / "small.safetensors")
    assert state_of(net)[:2] == (modules, tensors)
    assert all(torch.equal(a, b) for a, b in zip(state_of(net)[2], entries, strict=True))


def change(path, value):
    """A change of one tensor of a model."""

    def changed(model):
        owner, _, name = path.rpartition(".")
        getattr(model.get_submodule(owner), name).data.copy_(value)
        return model

    return changed


def short_counter(model):
    """The model with an integer of one byte as its number of batches."""
    model[1].num_batches_tracked = model[1].num_batches_tracked.to(torch.int8)
    return model


@pytest.mark.parametrize(
    ("changed", "convert", "message"),
    [
        (change("1.running_var", 1e6), nn.Module.half, r"'1.running_var' holds 1e\+06, which torch.float16"),
        (change("0.weight", 1e12 * torch.eye(16)), nn.Module.half, "'0.cores.0.weight' holds .*, which torch.float16"),
        (
            change("1.num_batches_tracked", 300),
            short_counter,
            "'1.num_batches_tracked' holds 300, which torch.int8",
        ),
    ],
)
def test_values_that_the_dtypes_of_a_model_cannot_hold_are_refused(tmp_path, changed, convert, message):
    make = lambda: nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16))  # noqa: E731
    tt.nn.save(tt.nn.decompose(changed(make()), budget=0.6), tmp_path / "small.safetensors")
    net = convert(make())
    with pytest.raises(tt.TensorTrainError, match=message):
        tt.nn.load(net, tmp_path / "small.safetensors")
    assert type(net[0]) is nn.Linear


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: nn.Linear(16, 16, device="meta"),
            r"'0.weight' .* meta device.* call model.to_empty\(device=\"cpu\"\)",
        ),
        (lambda: nn.LazyLinear(16), "'0.weight' of the model has no shape yet; run the model once"),
    ],
)
def test_models_without_entries_are_refused(tmp_path, make, message):
    tt.compress(nn.Sequential(nn.Linear(16, 16)), parameters=0.7).save(tmp_path / "small.safetensors")
    net = nn.Sequential(make())
    with pytest.raises(tt.TensorTrainError, match=message):
        tt.nn.load(net, tmp_path / "small.safetensors")
    assert "cores.0" not in dict(net[0].named_modules())


def test_a_layer_whose_bias_alone_was_trained_has_no_errors(tmp_path):
    net = nn.Sequential(nn.Linear(16, 16), nn.Conv1d(4, 4, 3)).eval()
    result = tt.compress(net, torch.randn(128, 4, 16), parameters=0.7, at_most={"0": 0.7, "1": 0.7})
    with torch.no_grad():
        for layer in result.model:
            layer.bias.add_(100)
    result.save(tmp_path / "small.safetensors")
    records = read_network(tmp_path / "small.safetensors")[1]
    assert [(record.error, record.data_error) for record in records] == [(None, None)] * len(records)


class WithState(nn.Module):
    """Hands its input through, and has a buffer or an extra state."""

    def __init__(self, state):
        super().__init__()
        self.register_buffer("kept", state if isinstance(state, torch.Tensor) else None)
        self.extra = torch.zeros(1) if isinstance(state, torch.Tensor) else state

    def get_extra_state(self):
        return self.extra

    def set_extra_state(self, state):
        self.extra = state

    def forward(self, x):
        return x


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("state", "message"),
    [
        (lambda: torch.ones(3, device="meta"), "cannot write 1.kept: it is on the meta device"),
        (lambda: torch.eye(3).to_sparse(), "cannot write 1.kept: it has the layout torch.sparse_coo"),
        (lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "cannot write 1.kept: it is quantised"),
        (lambda: {1}, "cannot write 1._extra_state: it is a set"),
        (lambda: {"a": object()}, "cannot write 1._extra_state: it is a dict"),
    ],
)
def test_state_that_no_file_can_hold_is_refused_only_by_save(tmp_path, state, message):
    result = tt.compress(
        nn.Sequential(nn.Linear(16, 16), WithState(state())).eval(), torch.randn(64, 16), parameters=0.7
    )
    with pytest.raises(tt.TensorTrainError, match=message):
        result.save(tmp_path / "small.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("part", [lambda z: z, lambda z: z.imag], ids=["conjugate", "negative"])
def test_state_and_inputs_that_torch_conjugates_only_when_they_are_read(tmp_path, part):
    class Parts(nn.Module):
        def forward(self, z):
            return z.real + z.imag if z.is_complex() else z

    lazy = part(torch.complex(torch.ones(3), torch.ones(3)).conj())
    inputs = part(torch.randn(64, 16, dtype=torch.complex64).conj())
    assert lazy.is_conj() or lazy.is_neg()
    make = lambda state: nn.Sequential(Parts(), nn.Linear(16, 16), WithState(state)).eval()  # noqa: E731
    result = tt.compress(make(lazy), inputs, parameters=0.7)
    result.save(tmp_path / "small.safetensors")
    assert "2.kept" not in read_changes(tmp_path / "small.safetensors").changed
    loaded = tt.nn.load(make(torch.zeros_like(lazy)), tmp_path / "small.safetensors")
    assert torch.equal(loaded[2].kept, lazy)
