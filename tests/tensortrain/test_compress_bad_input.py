"""What `compress` refuses: one named error, nothing written, the model as it was."""

import copy
import json
import math
import stat

import pytest
import torch
from torch import nn

import tensortrain as tt
from tensortrain import TensorTrainError
from tensortrain.compression import analysed
from tests.support.networks import images, residual_network


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)).eval()


def with_weight(value):
    net = mlp()
    with torch.no_grad():
        net[2].weight[0, 0] = value
    return net


def without_weight(net):
    with torch.no_grad():
        net[0].weight.zero_()
    return net


class Exploding(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        return self.b(self.a(x) / 0.0)


class OwnForward(nn.Linear):
    def forward(self, x):
        return super().forward(x) * 2


class NoTensor(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(8, 8)

    def forward(self, x):
        return {"count": self.a(x).shape[0]}


class Uncopied(nn.Linear):
    def __deepcopy__(self, memo):
        raise RuntimeError("one of a kind")


def scripted(y: torch.Tensor) -> torch.Tensor:
    return y * 2


def failing_loader():
    yield x
    raise OSError("the disk is full")


x = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("model", "inputs", "options", "message"),
    [
        # models
        (lambda: nn.ReLU(), x, {}, "ReLU without any conv or linear layer"),
        (lambda: 3, x, {}, "model is a int; an nn.Module is needed"),
        (lambda: torch.jit.trace(mlp(), x), x, {}, "TopLevelTracedModule, a scripted or traced graph"),
        (lambda: torch.jit.script(mlp()), x, {}, "RecursiveScriptModule, a scripted or traced graph"),
        (lambda: torch.jit.script(scripted), x, {}, "ScriptFunction, a scripted or traced graph"),
        (lambda: torch.export.export(mlp(), (x,)), x, {}, "ExportedProgram, a graph of operators"),
        (lambda: torch.export.export(mlp(), (x,)).module(), x, {}, "a traced graph has operators in place of layers"),
        (lambda: with_weight(float("nan")), x, {}, r"2\.weight holds NaN or infinite entries"),
        (lambda: with_weight(float("inf")), None, {}, r"2\.weight holds NaN or infinite entries"),
        (lambda: mlp().to("meta"), None, {}, "meta device"),
        (lambda: nn.Sequential(nn.LazyLinear(3)), None, {}, "0.weight is lazy and has no entries yet"),
        (lambda: nn.Sequential(OwnForward(8, 8)), x, {}, "none of 1 layers can be replaced; 0: linear is a OwnForward"),
        (lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))), None, {}, "parametrized"),
        (Exploding, x, {}, "layer 'b' yields NaN or infinite values"),
        (NoTensor, x, {}, "has no floating tensor; select one with output="),
        (lambda: nn.Sequential(Uncopied(8, 8)), x, {}, "cannot be copied: one of a kind"),
        # inputs
        (mlp, torch.randn(4, 9), {}, r"cannot run on the calibration inputs \(tensors of shape \(4, 9\)\)"),
        (mlp, torch.randn(0, 8), {}, "inputs are empty"),
        (mlp, [], {}, "inputs are empty"),
        (mlp, iter(()), {}, "a generator can be read only once"),
        (mlp, torch.full((3, 8), float("nan")), {}, "batch 0 of inputs holds NaN"),
        (mlp, [x, x * float("inf")], {}, "batch 1 of inputs holds NaN or infinite"),
        (mlp, 3, {}, "inputs is a int"),
        (mlp, "images", {}, "inputs is a str"),
        (mlp, {"x": x}, {}, "inputs is a dict"),
        (mlp, ["image"], {}, "batch 0 of inputs is a str without a tensor"),
        (mlp, [(3, x)], {}, "batch 0 of inputs is a tuple without a tensor for the model"),
        (mlp, torch.tensor(1.0), {}, "inputs are empty"),
        (mlp, [x, x.to_sparse()], {}, "a tensor in batch 1 of inputs has the layout torch.sparse_coo"),
        (mlp, [x.to("meta")], {}, "a tensor in batch 0 of inputs is on the meta device"),
        (mlp, [x, (y for y in x)], {}, "batch 1 of inputs is a generator without a tensor"),
        (mlp, failing_loader(), {}, "batch 1 of inputs raised OSError: the disk is full"),
        (lambda: mlp().double(), x.double() * 1e60, {}, r"layer '0' yields values above 3e\+38 on the calibration"),
        (lambda: mlp().double(), x.double() * 1e200, {}, r"layer '0' yields values above 3e\+38 on the calibration"),
        (lambda: without_weight(mlp().double()), x.double() * 1e200, {}, r"layer '0' reads values above 3e\+38"),
        (lambda: mlp().double(), x.double() * 1e-60, {}, r"layer '0' reads only values below 1e-38 on the calibration"),
        # budgets
        (mlp, x, {"parameters": None}, "exactly one budget"),
        (mlp, x, {"macs": 0.5}, "exactly one budget .* parameters = 0.5 and macs = 0.5"),
        (mlp, x, {"parameters": 0.01}, r"the smallest network that can be reached has \d+ \(\d+\.\d%\)"),
        (mlp, x, {"parameters": 0.0}, r"parameters = 0\.0; a fraction"),
        (mlp, x, {"parameters": -3}, "parameters = -3; a fraction"),
        (mlp, x, {"parameters": 1.5}, r"parameters = 1\.5; a fraction"),
        (mlp, x, {"parameters": True}, "parameters = True; a fraction"),
        (mlp, x, {"parameters": "half"}, "parameters = 'half'; a fraction"),
        (mlp, x, {"parameters": float("nan")}, "parameters = nan; a fraction"),
        (mlp, None, {"parameters": None, "macs": 0.5}, "depends on its inputs; pass inputs"),
        # options
        (mlp, x, {"include": ["9"]}, "include = '9' matches no layer; there are: 0, 2"),
        (mlp, x, {"exclude": ["*"]}, "leave none of the 2 layers"),
        (mlp, x, {"samples": 0}, "samples = 0 is too small"),
        (mlp, x, {"multiple": 0}, "multiple = 0 is too small"),
        (mlp, x, {"at_least": {"0": 2.0}}, r"at_least\['0'\] = 2\.0"),
        (
            mlp,
            x,
            {"at_most": {"7": 0.5}},
            "at_most has the pattern '7', which matches none of the layers that can be replaced: 0, 2",
        ),
        (mlp, x, {"parameters": None, "max_drop": 0.1}, "needs a metric"),
        (
            mlp,
            x,
            {"parameters": None, "max_drop": -1, "metric": lambda m: 1.0},
            "max_drop = -1; a number of at least 0",
        ),
        (mlp, x, {"at_most": {0: 0.5}}, "at_most has the key 0; a pattern of names is needed"),
        (mlp, x, {"at_least": {None: 0.5}}, "at_least has the key None; a pattern of names is needed"),
        (mlp, x, {"output": lambda y: y.logits}, "the function output= raised AttributeError: .* gets the output of"),
        (mlp, x, {"output": lambda y: None}, "has no floating tensor <function"),
        (mlp, x, {"metric": lambda m: None}, "the metric returned None; a number is needed"),
        (mlp, x, {"metric": lambda m: m(x)}, "the metric returned a Tensor; a number is needed"),
        (mlp, x, {"metric": lambda m: m.head}, "the metric raised AttributeError"),
        (mlp, x, {"metric": lambda m: float("nan")}, "the metric of the original network is nan"),
        (mlp, x, {"metric": lambda m: -math.inf, "parameters": None, "max_drop": 0.1}, "original network is -inf"),
        (mlp, x, {"output": 5}, "has no floating tensor 5; select one"),
        (mlp, [x[:0], x], {}, r"batch 0 of inputs is empty: shape \(0, 8\)"),
        (mlp, x, {"at_most": 0.5}, "at_most = 0.5; a mapping from patterns to fractions"),
        (mlp, x, {"at_most": {"0": 0.01}}, "at_most lets layer '0' keep at most 0.01 of its parameters, but no form"),
        (mlp, x, {"at_most": {"2": 0.3}, "at_least": {"*": 0.4}}, "at_least = 0.4 and at_most = 0.3 exclude every"),
        (mlp, x, {"include": 5}, "5 is a int; a string is needed"),
        (mlp, x, {"exclude": [1]}, "1 is a int; a string is needed"),
        (mlp, x, {"formats": 3}, "formats = 3; 'all', or one or more of"),
        (mlp, x, {"metric": 0.5}, "metric is a float; a function of a network is needed"),
        (mlp, x, {"logits": "no"}, "logits = 'no'; True, False or None"),
        (mlp, x, {"parameters": None, "max_drop": float("nan"), "metric": lambda m: 1.0}, "max_drop = nan"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_one_named_error(model, inputs, options, message):
    net = model()
    before = copy.deepcopy(net.state_dict()) if type(net) is nn.Sequential and not isinstance(net[0], Uncopied) else {}
    with pytest.raises(TensorTrainError, match=message):
        tt.compress(net, inputs, **{"parameters": 0.5, **options})
    for name, value in before.items():
        if not nn.parameter.is_lazy(value) and not value.is_meta:
            torch.testing.assert_close(net.state_dict()[name], value, equal_nan=True, rtol=0, atol=0)


def test_what_is_no_network_is_neither_saved_nor_loaded(tmp_path):
    path = tmp_path / "small.safetensors"
    for call in (tt.nn.save, tt.nn.load):
        with pytest.raises(TensorTrainError, match="model is a str; an"):
            call("network", path)


def test_a_result_that_could_not_be_trained_is_not_made():
    with torch.inference_mode(), pytest.raises(TensorTrainError, match="inference_mode"):
        tt.compress(mlp(), x, parameters=0.5)


def test_at_most_holds_where_it_can():
    result = tt.compress(mlp(), x, parameters=0.9, at_most={"0": 0.6})
    shares = {layer.name: layer.parameters[1] / layer.parameters[0] for layer in result.report.layers}
    assert shares["0"] <= 0.6


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_part_stays_as_it_is():
    net = nn.Sequential(nn.Linear(8, 16), torch.jit.script(nn.ReLU()), nn.Linear(16, 3)).eval()
    assert tt.compress(net, x, parameters=0.8).model(x).shape == (20, 3)


@pytest.mark.parametrize("seed", [1_850_000_000, 2**63 - 1])
def test_every_seed_of_torch_is_legal(seed):
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3)).eval()
    assert tt.compress(net, torch.randn(10, 3, 32, 32), parameters=0.7, seed=seed).report.samples == 10


def test_a_weight_that_is_a_buffer_has_no_share():
    net = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8))
    weight = net[0].weight.detach()
    del net[0].weight
    net[0].register_buffer("weight", weight)
    assert "Linear 8→8" in str(tt.compress(net, x, parameters=0.8))


def test_a_metric_that_never_holds():
    values = iter(range(100, 0, -1))
    with pytest.raises(TensorTrainError, match="the metric falls by more"):
        tt.compress(mlp(), x, metric=lambda m: next(values), max_drop=0.5)


def test_a_metric_that_is_no_number_for_the_compressed_network(tmp_path):
    values = iter([1.0, math.nan])
    result = tt.compress(mlp(), x, metric=lambda m: next(values), parameters=0.9)
    assert "the metric of the compressed network is nan, which is not finite" in str(result.report)
    assert json.loads(result.report.to_json())["metric"] == [1.0, None]
    values = iter([1.0] + [math.inf, math.nan] * 4)
    with pytest.raises(TensorTrainError, match="the metric falls by more or is not finite"):
        tt.compress(mlp(), x, metric=lambda m: next(values), max_drop=0.5)


def test_large_and_small_values_of_other_precisions():
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(60, 8, generator=generator, dtype=torch.float64)
    net = mlp().double()
    with torch.no_grad():
        for layer in (net[0], net[2]):
            layer.bias.zero_()  # so that the network commutes with a scale
    errors = [tt.compress(net, inputs * s, parameters=0.8).report.outputs.error for s in (1.0, 1e25, 1e-25)]
    assert errors[1:] == pytest.approx(errors[:1] * 2, rel=1e-6)


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        (x, {"parameters": 2.0}, r"parameters = 2\.0; a fraction of the whole network"),
        (x, {"bytes": -1}, "bytes = -1; a fraction of the whole network"),
        (x, {"macs": "half"}, "macs = 'half'; a fraction of the whole network"),
        (None, {"macs": 0.5}, "macs: the number of multiplications of a layer depends on its inputs; pass inputs"),
        (x, {"milliseconds": -1}, "milliseconds = -1; a positive number is needed"),
        (None, {"milliseconds": 3.0}, "milliseconds: the time of a layer depends on its inputs; pass inputs"),
        (x, {"time": 2.0}, r"time = 2\.0; a share of the network's own time"),
        (None, {"time": 0.5}, "time: the time of a layer depends on its inputs; pass inputs"),
        (x, {"max_drop": "a", "metric": lambda m: 1.0}, "max_drop = 'a'; a number of at least 0"),
        (x, {"max_drop": True, "metric": lambda m: 1.0}, "max_drop = True; a number of at least 0"),
        (x, {"parameters": 0.5, "samples": 0}, "samples = 0 is too small"),
        (x, {"parameters": 0.5, "at_most": 0.5}, r"at_most = 0\.5; a mapping"),
        (x, {"parameters": 0.5, "at_least": {"0": 2.0}}, r"at_least\['0'\] = 2\.0; a fraction"),
        (x, {"parameters": 0.5, "multiple": 1.5}, r"multiple = 1\.5 is not an integer"),
    ],
)
def test_arguments_are_checked_before_the_analysis(monkeypatch, inputs, options, message):
    monkeypatch.setattr(analysed, "analyse", lambda *_, **__: pytest.fail("the network was analysed"))
    with pytest.raises(TensorTrainError, match=message):
        tt.compress(mlp(), inputs, **options)


@pytest.mark.parametrize(
    ("inputs", "fractions", "unit", "message"),
    [
        (x, [0.9, 0.8, 2.0], "parameters", r"fractions\[2\]: parameters = 2\.0; a fraction of the whole network"),
        (x, [0.9, "a"], "macs", r"fractions\[1\]: macs = 'a'; a fraction of the whole network"),
        (x, None, "bytes", r"fractions\[0\]: bytes = None; a fraction of the whole network"),
        (x, "abc", "parameters", "fractions = 'abc'; numbers are needed, such as "),
        (x, b"abc", "parameters", "fractions = b'abc'; numbers are needed, such as "),
        (x, (), "parameters", "fractions is empty; at least one is needed"),
        (None, [0.5], "macs", r"fractions\[0\]: macs: the number of multiplications .* pass inputs"),
    ],
)
def test_the_fractions_of_a_curve_are_checked_before_the_analysis(monkeypatch, inputs, fractions, unit, message):
    monkeypatch.setattr(analysed, "analyse", lambda *_, **__: pytest.fail("the network was analysed"))
    with pytest.raises(TensorTrainError, match=message):
        tt.compression_curve(mlp(), inputs, fractions, unit=unit)


def test_a_curve_with_a_fraction_that_cannot_be_reached_builds_no_network(monkeypatch):
    monkeypatch.setattr(analysed, "build", lambda *_: pytest.fail("a network was built"))
    with pytest.raises(TensorTrainError, match=r"the budget is 9 of 195, but the smallest network that can be reached"):
        tt.compression_curve(mlp(), x, [0.9, 0.05])


@pytest.mark.parametrize("path", [3, None])
def test_a_curve_is_saved_only_to_a_path(path):
    curve = tt.compression_curve(mlp(), None, [0.9])
    with pytest.raises(TensorTrainError, match=f"path is a {type(path).__name__}; a str or a pathlib.Path is needed"):
        curve.save(path)


def test_outputs_that_are_infinite_at_other_places_have_an_infinite_error():
    class Masked(nn.Sequential):
        def forward(self, x):
            y = super().forward(x)
            return y.masked_fill(y < y.topk(2).values[:, -1:], -math.inf)

    outputs = tt.compress(Masked(*mlp()).eval(), x, parameters=0.7).report.outputs
    assert outputs.error == math.inf


def test_no_fractions():
    with pytest.raises(TensorTrainError, match="unit = 'rank' is unknown"):
        tt.compression_curve(mlp(), x, [0.5], unit="rank")
    assert len(tt.compression_curve(mlp(), x, 0.5).results) == 1


def test_no_write_access(tmp_path):
    result = tt.compress(residual_network(), images(20), parameters=0.5)
    folder = tmp_path / "none"
    for save in (result.save, lambda path: result.report.save(path.with_suffix(".json"))):
        with pytest.raises(TensorTrainError, match="cannot write"):
            save(folder / "small.safetensors")
    (tmp_path / "taken.safetensors").mkdir()
    with pytest.raises(TensorTrainError, match="it is a folder"):
        result.save(tmp_path / "taken.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["taken.safetensors"]
    assert stat.S_ISDIR((tmp_path / "taken.safetensors").stat().st_mode)


def test_an_interrupt_leaves_the_model_as_it_was():
    net = residual_network()
    before = copy.deepcopy(net.state_dict())

    def interrupting():
        yield images(10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tt.compress(net, interrupting(), parameters=0.5)
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
