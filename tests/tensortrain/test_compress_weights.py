"""Errors of layers that are called again count as much as they change the outputs."""

import dataclasses

import pytest
import torch
from torch import Tensor, nn

import tensortrain as tt
from tensortrain.compression import analysed
from tests.support.networks import images, residual_network


class Loop(nn.Module):
    """Two layers at each step, of which one is heard and the other hardly."""

    def __init__(self) -> None:
        super().__init__()
        self.loud, self.quiet = nn.Linear(24, 24, bias=False), nn.Linear(24, 24, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros_like(x)
        for _ in range(5):
            h = torch.tanh(x + self.loud(h) + 0.05 * self.quiet(h))
        return h


@pytest.fixture
def loop():
    """With singular values that fall from 1 on, the same in both layers."""
    torch.manual_seed(0)
    net = Loop().eval()
    with torch.no_grad():
        for layer in net.children():
            u, _, v = torch.linalg.svd(layer.weight)
            layer.weight.copy_(u * 0.75 ** torch.arange(24) @ v)
    return net


def test_the_layer_that_matters_keeps_more(loop, monkeypatch):
    x, fresh = torch.randn(300, 24), torch.randn(300, 24)
    result = tt.compress(loop, x, parameters=0.5)
    layers = {layer.name: layer for layer in result.report.layers}
    assert layers["loud"].parameters[1] > 1.5 * layers["quiet"].parameters[1]
    assert any("weighted" in note for note in result.report.notes)
    assert result.report.bound <= result.report.error

    def unweighted(*arguments, **options):
        analysis = analyse(*arguments, **options)
        return dataclasses.replace(analysis, measured=dataclasses.replace(analysis.measured, weights={}))

    analyse = analysed.analyse
    monkeypatch.setattr(analysed, "analyse", unweighted)
    other = tt.compress(loop, x, parameters=0.5).model
    with torch.no_grad():
        errors = [float((small(fresh) - loop(fresh)).norm()) for small in (result.model, other)]
    assert errors[0] < 0.7 * errors[1]


def test_networks_that_call_each_layer_once_have_no_weights():
    report = tt.compress(residual_network(), images(64), parameters=0.5).report
    assert not any("weighted" in note for note in report.notes)


def test_layers_that_do_nothing_to_the_outputs_keep_a_weight(loop):
    """The smallest of all, so that the allocation stays defined; a network that forgets everything has none."""
    with torch.no_grad():
        loop.loud.weight.zero_()
    report = tt.compress(loop, torch.randn(100, 24), parameters=0.5).report
    assert report.parameters[1] <= 576
    with torch.no_grad():
        loop.quiet.weight.zero_()
    assert tt.compress(loop, torch.randn(100, 24), parameters=0.5).report.parameters[1] <= 576
