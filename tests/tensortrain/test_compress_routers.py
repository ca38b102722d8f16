"""Networks that choose which inputs a layer reads, and networks whose first axis is no batch."""

import pytest
import torch
from torch import Tensor, nn

import tensortrain as tt


class Experts(nn.Module):
    """Each sample goes through one of three layers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.gate, self.last = nn.Linear(16, 16), nn.Linear(16, 3), nn.Linear(16, 4)
        self.experts = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        chosen = self.gate(x).argmax(1)
        y = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            y[chosen == number] = expert(x[chosen == number])
        return self.last(y.relu())


class Selection(nn.Module):
    """Four of sixteen tokens go through the later layers: the first ones, or those with the smallest first feature."""

    def __init__(self, *, chosen: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.third = nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 32)
        self.chosen = chosen

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        order = h[..., 0].argsort(1) if self.chosen else torch.arange(16).expand(len(h), -1)
        h = h.gather(1, order[:, :4, None].expand(-1, -1, 32))
        return self.third(self.second(h).relu()).sum(1)


def test_experts_get_the_samples_that_the_compressed_router_sends_them() -> None:
    net, x = Experts().eval(), torch.randn(300, 16)
    result = tt.compress(net, x, parameters=0.6)
    assert result.report.parameters[1] <= 0.6 * result.report.parameters[0]
    by_weight = tt.compress(net, parameters=0.6).model
    with torch.no_grad():
        errors = [float((small(x) - net(x)).norm()) for small in (result.model, by_weight)]
    assert errors[0] < errors[1]


def test_an_expert_without_samples_stays_as_it_is_and_is_named() -> None:
    net, x = Experts().eval(), torch.randn(300, 16)
    with torch.no_grad():
        net.gate.bias[2] = -100.0
    result = tt.compress(net, x, parameters=0.7)
    layer = next(layer for layer in result.report.layers if layer.name == "experts.2")
    assert (layer.state, layer.note) == ("left alone", "it reads no values for these inputs")


def test_layers_behind_a_selection_are_not_fitted_to_the_outputs_of_other_tokens() -> None:
    x = torch.randn(256, 16, 32, generator=torch.Generator().manual_seed(1))
    errors = []
    for chosen in (False, True):
        net = Selection(chosen=chosen).eval()
        result = tt.compress(net, x, parameters=0.6, logits=False, at_most={"first": 0.5})
        errors.append(next(layer.error for layer in result.report.layers if layer.name == "second"))
    assert errors[1] < 1.1 * errors[0]  # 0.67 against 0.41 when paired with the outputs of other tokens


class Graph(nn.Module):
    """Sums over the neighbours of each node; the edges name nodes of this batch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(16, 16)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        return torch.zeros_like(nodes).index_add_(0, edges[1], self.layer(nodes)[edges[0]])


def test_nodes_of_a_graph_are_no_samples() -> None:
    nodes, edges = torch.randn(30, 16), torch.randint(0, 30, (2, 90), generator=torch.Generator().manual_seed(0))
    result = tt.compress(Graph().eval(), [(nodes, edges)], parameters=0.8)
    assert result.model(nodes, edges).shape == (30, 16)


@pytest.mark.parametrize("samples", [1, 255, 257, 258, 513])
def test_any_number_of_samples_goes_through_batch_norm_in_training_mode(samples: int) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4)).eval()
    result = tt.compress(net, torch.randn(samples, 8), parameters=0.8)
    assert result.report.samples == samples


def test_chunks_are_of_nearly_equal_size() -> None:
    from tensortrain.compression.analysis.batch_norm import estimate
    from tensortrain.compression.analysis.calibration import Calibration

    net = nn.BatchNorm1d(3).eval()
    x = torch.randn(258, 3, generator=torch.Generator().manual_seed(0)) * 2 + 1
    calibration = Calibration.read(x, net).prepared(net, 258, None)
    assert [batch.size for batch in calibration.chunks()] == [129, 129]
    estimated = estimate(net, calibration)
    torch.testing.assert_close(estimated["running_mean"], x.mean(0))
    torch.testing.assert_close(estimated["running_var"], x.var(0), rtol=0.02, atol=0)


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(16, 16), nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).relu()).masked_fill(torch.arange(5) == 4, -torch.inf)


def test_masked_logits_are_compared_by_the_others(tmp_path) -> None:
    result = tt.compress(Masked().eval(), torch.randn(64, 16), parameters=0.6, samples=32)
    outputs = result.report.outputs
    assert outputs is not None
    assert outputs.kl is not None
    assert result.report.samples == 32
    assert 0 < outputs.error < 1
    assert 0 < outputs.kl < 1
    for ending in ("json", "html", "csv"):
        result.report.save(tmp_path / f"report.{ending}")


class Torn(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.layer, self.value = nn.Linear(8, 8), value

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).masked_fill(torch.arange(8) == 3, self.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_other_infinite_outputs_are_refused(value: float) -> None:
    with pytest.raises(tt.TensorTrainError, match="outputs of the model are NaN or infinite"):
        tt.compress(Torn(value).eval(), torch.randn(20, 8), parameters=0.8)
