"""Attention modules that are shared, tied or masked: the budget holds, and the report tells the truth."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tensortrain as tt
from tensortrain.compression.layers.exchange import exchange, exchangeable, unexchangeable
from tensortrain.compression.state_dicts.records import read_changes, read_network
from tensortrain.compression.verify import verify_network

pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:enable_nested_tensor")


class Block(nn.Module):
    """Attention with a linear layer after it."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention, self.out = attention, nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.out(self.attention(x, x, x)[0])
        return result


def attention(**options: Any) -> Any:
    return nn.MultiheadAttention(16, 2, batch_first=True, **options)


def blocks(*attentions: Any) -> Any:
    torch.manual_seed(0)
    return nn.Sequential(*map(Block, attentions)).eval()


def tie_projections(net: Any) -> None:
    net[1].attention.in_proj_weight = net[0].attention.in_proj_weight


def share_output_layer(net: Any) -> None:
    net[1].attention.out_proj = net[0].attention.out_proj


def tie_to_another_layer(net: Any) -> None:
    net[1].out.weight = net[0].attention.out_proj.weight


def tie_to_a_plain_parameter(net: Any) -> None:
    net.register_parameter("further", net[0].attention.in_proj_bias)


def samples() -> Tensor:
    return torch.randn(64, 5, 16, generator=torch.Generator().manual_seed(0))


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_attention_in_two_places_is_exchanged_in_both(tmp_path: Path) -> None:
    net = blocks(*[attention()] * 2)
    result = tt.compress(net, samples(), parameters=0.6)
    small: Any = result.model
    assert small[0].attention is small[1].attention
    assert isinstance(small[0].attention, tt.nn.MultiheadAttention)
    assert count(small) <= 0.6 * count(net)
    file = tmp_path / "small.safetensors"
    result.save(file)
    again: Any = tt.nn.load(blocks(*[attention()] * 2), file)
    assert torch.equal(again(samples()), small(samples()))
    assert again[0].attention is again[1].attention
    tensors, records = read_network(file)
    assert verify_network(tensors, records, net.state_dict(), read_changes(file)).failures == []


@pytest.mark.parametrize("kind", ["parameters", "bytes"])
@pytest.mark.parametrize("with_inputs", [True, False])
@pytest.mark.parametrize("tie", [tie_projections, share_output_layer, tie_to_another_layer, tie_to_a_plain_parameter])
def test_tied_attention_stays_tied(tie: Callable[[Any], None], kind: str, with_inputs: bool) -> None:
    net = blocks(attention(), attention())
    tie(net)
    result = tt.compress(net, samples() if with_inputs else None, **{kind: 0.85})
    small: Any = result.model
    assert count(small) <= 0.85 * count(net)
    assert type(small[0].attention) is nn.MultiheadAttention
    shared = (
        "in_proj_bias" if tie is tie_to_a_plain_parameter else "in_proj_weight" if tie is tie_projections else "out"
    )
    assert any("0.attention stays as it is: it shares its " + shared in note for note in result.report.notes)
    assert tt.nn.decompose(net, ranks=2, include=["*.out"])[0].attention.in_proj_weight is not None


def test_tensors_that_are_tied_within_one_module_stay_tied() -> None:
    net = nn.MultiheadAttention(8, 2, kdim=6, vdim=6, batch_first=True)
    net.v_proj_weight = net.k_proj_weight
    assert exchangeable(net) == {}
    assert unexchangeable(net) == {"": "it shares its k_proj_weight with v_proj_weight"}
    with_names = nn.ModuleDict({"a": net})
    assert unexchangeable(with_names) == {"a": "it shares its k_proj_weight with a.v_proj_weight"}


def test_an_attention_module_may_be_in_a_shared_block() -> None:
    block = Block(attention())
    net = exchange(nn.Sequential(block, block, block.attention), ["0.attention"])
    assert net[0].attention is net[1].attention is net[2]  # type: ignore[union-attr]
    assert isinstance(net[2], tt.nn.MultiheadAttention)


class Untying(nn.Sequential):
    """A network whose copies no longer share what it shares."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Untying":
        return Untying(*(copy.deepcopy(module) for module in self))


@pytest.mark.parametrize("kind", ["parameters", "bytes"])
def test_a_network_that_became_larger_than_its_budget_is_refused(kind: str) -> None:
    first, second = nn.Linear(24, 24), nn.Linear(24, 24)
    second.weight = first.weight
    net = Untying(first, nn.ReLU(), second).eval()
    with pytest.raises(tt.TensorTrainError, match=f"{kind}: the budget is .* but the network that was built has"):
        tt.compress(net, torch.randn(100, 24), **{kind: 0.9})


# ---- masks ---------------------------------------------------------------------------------------------------


class Pooled(nn.Module):
    """An encoder with a padding mask, whose outputs are averaged with or without the masked positions."""

    def __init__(self, ignore_masked: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2)
        self.head, self.ignore_masked = nn.Linear(16, 3), ignore_masked

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.encoder(x, src_key_padding_mask=mask)
        result: Tensor = self.head((x * ~mask[..., None] if self.ignore_masked else x).mean(1))
        return result


def masked() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(2, 8, (96, 1), generator=generator)
    return torch.randn(96, 7, 16, generator=generator), torch.arange(7)[None] >= lengths


def test_other_outputs_at_masked_positions_are_measured_and_named() -> None:
    net, (x, mask) = Pooled(ignore_masked=False).eval(), masked()
    with pytest.warns(UserWarning, match="no longer returns zeros at masked positions"):
        result = tt.compress(net, [(x, mask)], parameters=0.95)
    with torch.no_grad():
        expected, output = net(x, mask), result.model(x, mask)
    assert result.report.outputs is not None
    assert result.report.outputs.error == pytest.approx(float((output - expected).norm() / expected.norm()), rel=1e-3)
    assert any("attention modules that call their projections change the outputs" in n for n in result.report.notes)


@pytest.mark.filterwarnings("error:attention modules")
def test_masked_positions_that_do_not_matter_are_not_named() -> None:
    result = tt.compress(Pooled(ignore_masked=True).eval(), [masked()], parameters=0.95)
    assert result.report.outputs is not None
    assert result.report.outputs.error < 0.2
    assert result.report.notes == []
