"""`tensortrain.profiling`: multiply-accumulates, traffic, memory, and convolutions timed alone."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tensortrain import TensorTrainError
from tensortrain.profiling.clock import Clock, alternate
from tensortrain.profiling.formulas import FORMULAS
from tensortrain.profiling.isolated import _centres, _filled, isolated
from tensortrain.profiling.machine import describe_machine, using_threads
from tensortrain.profiling.macs import Recorder, specs
from tensortrain.profiling.memory import peak_bytes

CPU = torch.device("cpu")


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("needs", [True, False])
def test_backward_convolutions_are_counted_with_their_groups(groups: int, needs: bool) -> None:
    x = torch.ones(2, 4, 6, 6, requires_grad=needs)
    weight = torch.ones(8, 4 // groups, 3, 3, requires_grad=True)
    with Recorder() as recorder:
        F.conv2d(x, weight, groups=groups).sum().backward()
    assert recorder.count.macs == 2 * 4 * 4 * weight.numel() * (3 if needs else 2)


def test_traffic_leaves_out_views_and_convolutions() -> None:
    x, weight = torch.ones(2, 3, 8, 8), torch.ones(4, 3, 1, 1)
    with Recorder() as recorder:
        y = F.conv2d(x, weight)
        y.view(-1).unsqueeze(0)
        torch.add(y, y[:1].expand(2, -1, -1, -1))
    whole = y.numel() * 4
    assert recorder.count.traffic == whole + whole // 2 + whole  # read one, half of another, write one
    assert recorder.count.operators == 6


def test_inference_mode_is_counted_like_any_other() -> None:
    x, weight = torch.ones(1, 2, 4, 4), torch.ones(3, 2, 3, 3)
    with Recorder() as plain:
        F.conv2d(x, weight, padding="same")
    with torch.inference_mode(), Recorder() as inference:
        F.conv2d(x, weight, padding="same")
    assert plain.count.macs == inference.count.macs == 16 * weight.numel()
    assert plain.count.calls == inference.count.calls


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_attention_is_counted_on_every_device(device: str) -> None:
    """A product for the weights and one for the values; backward twice as many, and on a CPU the weights again."""
    q, k = (torch.randn(2, 3, n, 8, device=device, requires_grad=True) for n in (5, 7))
    product = 2 * 3 * 5 * 7 * 8
    with Recorder() as forward, torch.no_grad():
        F.scaled_dot_product_attention(q, k, k)
    with Recorder() as both:
        F.scaled_dot_product_attention(q, k, k).sum().backward()
    assert forward.count.macs == 2 * product
    assert both.count.macs == (7 if device == "cpu" else 6) * product
    if device == "cpu":
        times = alternate(isolated(both.count.calls, CPU, Clock(CPU, 1)), 2)
        assert len(both.count.calls) == 2
        assert all(value > 0 for one in times for value in one.values())


T, B, D = 7, 3, 16
ATTENTION = 4 * B * T * D**2 + 2 * B * T**2 * D


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize(
    ("function", "macs"),
    [
        (lambda x: nn.MultiheadAttention(D, 4, batch_first=True).eval()(x, x, x), ATTENTION),
        (nn.TransformerEncoderLayer(D, 4, 32, batch_first=True).eval(), ATTENTION + B * T * 2 * D * 32),
        (nn.LSTM(D, 8, batch_first=True), B * T * 4 * 8 * (D + 8)),
        (nn.GRU(D, 8, batch_first=True), B * T * 3 * 8 * (D + 8)),
        (lambda x: torch.ones(5, D) @ x[0, 0], 5 * D),
        (lambda x: torch.addmv(torch.ones(5), torch.ones(5, D), x[0, 0]), 5 * D),
        (lambda x: x[0, 0] @ x[0, 1], D),
        (lambda x: nn.Bilinear(D, D, 5)(x, x), B * T * 5 * D**2),
    ],
)
def test_operators_that_do_much_at_once_are_counted(function: Callable[..., Any], macs: int, mode: Any) -> None:
    x = torch.randn(B, T, D)
    with mode(), Recorder() as recorder:
        function(x)
    assert recorder.count.macs == macs
    clock = Clock(CPU, 1)
    assert all(value > 0 for one in alternate(isolated(recorder.count.calls, CPU, clock), 1) for value in one.values())


R = torch.randn
SPARSE = torch.tensor([[0.0, 1, 0, 0], [1, 1, 0, 1], [0, 0, 0, 0]])  # four entries
LINEAR = nn.Linear(8, 5)


def ragged() -> torch.Tensor:
    """A strided nested tensor with five rows of eight numbers."""
    return torch.nested.nested_tensor([R(3, 8), R(2, 8)])


def quantised(module: nn.Module) -> nn.Module:
    """A module with dynamically quantised linear layers."""
    return torch.ao.quantization.quantize_dynamic(nn.Sequential(module), {nn.Linear, nn.GRUCell})


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize(
    ("function", "macs"),
    [
        (lambda: R(3, 5).addmm_(R(3, 4), R(4, 5)), 60),
        (lambda: R(2, 3, 5).baddbmm_(R(2, 3, 4), R(2, 4, 5)), 120),
        (lambda: torch.addbmm(R(3, 5), R(2, 3, 4), R(2, 4, 5)), 120),
        (lambda: R(3, 5).addbmm_(R(2, 3, 4), R(2, 4, 5)), 120),
        (lambda: R(3).addmv_(R(3, 4), R(4)), 12),
        (lambda: R(3, 4).addr_(R(3), R(4)), 12),
        (lambda: torch.addr(R(3, 4), R(3), R(4)), 12),
        (lambda: torch.linalg.vecdot(R(4), R(4)), 4),
        (lambda: torch._addmm_activation(R(5), R(3, 4), R(4, 5)), 60),
        (lambda: torch._int_mm(*[torch.ones(32, 32, dtype=torch.int8)] * 2), 32**3),
        (lambda: torch._grouped_mm(*grouped((4, 16), (2, 16, 8))), 4 * 16 * 8),
        (lambda: torch._grouped_mm(*grouped((2, 4, 16), (2, 16, 8))[:2]), 2 * 4 * 16 * 8),
        (lambda: torch._weight_int8pack_mm(R(3, 32).bfloat16(), torch.ones(16, 32).char(), R(16).bfloat16()), 1536),
        (lambda: torch.conv_tbc(R(7, 1, 2), R(3, 2, 5), R(5), 1), 210),
        (lambda: torch._C._nn.thnn_conv2d(R(1, 2, 4, 4), R(3, 2, 2, 2), 2), 27 * 8),
        (lambda: torch._C._nn.slow_conv3d(R(1, 2, 4, 4, 4), R(3, 2, 2, 2, 2), 2), 81 * 16),
        (lambda: torch._C._nn.slow_conv_transpose2d(R(1, 2, 4, 4), R(2, 3, 2, 2), 2), 16 * 24),
        (
            lambda: torch.ops.aten.mkldnn_convolution(R(1, 2, 5, 5), R(3, 2, 3, 3), None, [0] * 2, [1] * 2, [1] * 2, 1),
            486,
        ),
        (lambda: torch.cdist(R(2, 3, 4), R(2, 5, 4)), 2 * 3 * 5 * 4),
        (lambda: torch.cdist(R(30, 4), R(50, 4)), 30 * 50 * 4),
        (lambda: torch.cdist(R(3, 4), R(5, 4), p=1.0), 0),
        (lambda: F.linear(R(3, 8).to_mkldnn(), LINEAR.weight.to_mkldnn()), 120),
        (lambda: quantised(nn.Linear(8, 5))(R(3, 8)), 120),
        (lambda: quantised(nn.GRUCell(4, 5))(R(3, 4)), 3 * 15 * (4 + 5)),
        (lambda: SPARSE.to_sparse() @ R(4, 5), 4 * 5),
        (lambda: torch.sparse.mm(SPARSE.to_sparse(), R(4, 5)), 4 * 5),
        (lambda: torch.sparse.addmm(R(3, 5), SPARSE.to_sparse(), R(4, 5)), 4 * 5),
        (lambda: SPARSE.to_sparse_csr() @ R(4, 5), 4 * 5),
        (lambda: R(7, 3) @ SPARSE.to_sparse_csr(), 7 * 4),
        (lambda: SPARSE.to_sparse() @ R(4), 4),
        (lambda: torch.bmm(torch.stack([SPARSE, 1 - SPARSE]).to_sparse(), R(2, 4, 5)), 12 * 5),
        (lambda: SPARSE.to_sparse() @ SPARSE.T.contiguous().to_sparse(), 1 + 4 + 1),
        (lambda: torch.sparse.sampled_addmm(SPARSE.to_sparse_csr(), R(3, 6), R(6, 4)), 4 * 6),
        (lambda: LINEAR(ragged()), 5 * 8 * 5),
        (lambda: torch.bmm(ragged(), torch.nested.nested_tensor([R(8, 4)] * 2)), 5 * 8 * 4),
        (lambda: LINEAR(torch.nested.nested_tensor([R(3, 8), R(2, 8)], layout=torch.jagged)), 5 * 8 * 5),
    ],
)
def test_products_of_all_kinds_are_counted(function: Callable[..., Any], macs: int, mode: Any) -> None:
    with mode(), Recorder() as recorder:
        function()
    assert recorder.count.macs == macs


def grouped(left: tuple[int, ...], right: tuple[int, ...]) -> list[torch.Tensor]:
    """Arguments of a product of two groups of rows."""
    return [R(left).bfloat16(), R(right).bfloat16(), torch.tensor([1, 4], dtype=torch.int32)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("function", "shapes", "macs"),
    [
        (lambda x, w, b: torch.conv_tbc(x, w, b, 1), [(7, 1, 2), (3, 2, 5), (5,)], 210 + 2 * (6 + 7 + 6) * 10),
        (lambda x, w: torch._C._nn.thnn_conv2d(x, w, 2), [(1, 2, 4, 4), (3, 2, 2, 2)], 3 * 27 * 8),
        (torch.addbmm, [(3, 5), (2, 3, 4), (2, 4, 5)], 3 * 120),
        (torch.cdist, [(3, 4), (5, 4)], 3 * 60),
        (torch.cdist, [(30, 4), (50, 4)], 3 * 6000),
    ],
)
def test_the_backward_pass_of_other_products_is_counted(
    function: Callable[..., Any], shapes: list[tuple[int, ...]], macs: int
) -> None:
    with Recorder() as recorder:
        function(*(R(shape, requires_grad=True) for shape in shapes)).sum().backward()
    assert recorder.count.macs == macs


def test_the_backward_pass_of_a_nested_linear_layer_is_counted() -> None:
    layer = nn.Linear(8, 5)
    with Recorder() as recorder:
        layer(ragged().requires_grad_()).to_padded_tensor(0.0).sum().backward()
    assert recorder.count.macs == 3 * 5 * 8 * 5


def test_formulas_of_layers_that_only_a_gpu_has() -> None:
    weights = [torch.empty(shape, device="meta") for shape in ((12, 4), (12, 3), (12,), (12,))]
    x = torch.empty(7, 2, 4, device="meta")
    assert FORMULAS[torch.ops.aten._cudnn_rnn](x, weights, 4) == 2 * 14 * 12 * 7
    assert FORMULAS[torch.ops.aten._cudnn_rnn_backward](x, weights, 4) == 4 * 14 * 12 * 7
    maps, kernel = torch.empty(1, 2, 5, 5), torch.empty(3, 2, 3, 3)
    settings = ([0, 0], [1, 1], [1, 1], 1, True, False, False)  # True is no "transposed", but `benchmark`
    assert (
        FORMULAS[torch.ops.aten.cudnn_convolution](maps, kernel, *settings, out_val=torch.empty(1, 3, 3, 3)) == 2 * 486
    )


@pytest.mark.filterwarnings("ignore")
def test_an_encoder_with_padding_is_counted_without_its_padding() -> None:
    """In inference torch packs the sequences into a nested tensor, here of three and of two positions."""
    layer = nn.TransformerEncoderLayer(D, 4, 32, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2).eval()
    padding = torch.tensor([[0, 0, 0], [0, 0, 1]]).bool()
    with torch.inference_mode(), Recorder() as recorder:
        encoder(R(2, 3, D), src_key_padding_mask=padding)
    one = 5 * (4 * D**2 + 2 * D * 32) + 2 * (3 * 3 + 2 * 2) * D
    assert recorder.count.macs == 2 * one
    assert recorder.count.traffic > 0
    times = alternate(isolated(recorder.count.calls, CPU, Clock(CPU, 1)), 1)
    assert all(value > 0 for times_of_round in times for value in times_of_round.values())


def test_a_sparse_product_cannot_be_timed_alone() -> None:
    with Recorder() as recorder:
        SPARSE.to_sparse() @ R(4, 5)
    with pytest.raises(TensorTrainError, match=r"\(3, 4\) has the layout torch.sparse_coo"):
        isolated(recorder.count.calls, CPU, Clock(CPU, 1))


def test_the_backward_pass_of_a_recurrent_layer_is_counted() -> None:
    with Recorder() as recorder:
        nn.LSTM(D, 8)(torch.randn(T, B, D, requires_grad=True))[0].sum().backward()
    assert recorder.count.macs == 3 * B * T * 4 * 8 * (D + 8)


def test_convolutions_in_isolation_are_those_of_the_model() -> None:
    x = torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(4, 3, 3, 3, requires_grad=True)
    with Recorder() as recorder:
        (F.conv2d(x, weight, dilation=2) + F.conv2d(x, weight, dilation=2)).sum().backward()
    calls = recorder.count.calls
    assert sorted(calls.values()) == [2, 2]
    assert {call.first.layout for call in calls} >= {"channels last"}
    for call in calls:
        numbers = {torch.float32: torch.randn(10_000)}
        assert specs(_filled(call.args, numbers)) == call.args
    clock = Clock(CPU, 1)
    times = alternate(isolated(calls, CPU, clock), 2)
    assert all(value > 0 for one in times for value in one.values())


def test_samplings_and_patches_are_special_and_run_in_isolation() -> None:
    x = torch.randn(2, 3, 6, 5, requires_grad=True)
    grid = torch.rand(2, 6, 5, 2, requires_grad=True)
    with Recorder() as recorder:
        sampled = F.grid_sample(x, grid, align_corners=False) + F.grid_sample(x, grid, align_corners=False)
        (F.unfold(sampled, 3, padding=1).softmax(1) ** 2).sum().backward()
    names = Counter({call.operator.overloadpacket.__name__: n for call, n in recorder.count.special.items()})
    pairs = {"grid_sampler_2d": 2, "im2col": 1, "_softmax": 1}
    assert names == pairs | {"grid_sampler_2d_backward": 2, "col2im": 1, "_softmax_backward_data": 1}
    assert recorder.count.macs == 0
    times = alternate(isolated(recorder.count.special, CPU, Clock(CPU, 1)), 1)
    assert all(value > 0 for one in times for value in one.values())


def test_maps_are_sampled_at_their_pixels() -> None:
    x = torch.randn(2, 3, 6, 5)
    assert torch.allclose(F.grid_sample(x, _centres(torch.rand(2, 6, 5, 2)), align_corners=False), x, atol=1e-5)


def test_peak_memory_is_that_of_the_tensors_alive_at_once() -> None:
    def run() -> None:
        a = torch.ones(1_000_000)
        b = a + 1
        del a
        b.add_(1)
        torch.ones(500_000)

    assert 8e6 <= peak_bytes(run, CPU) < 8.1e6


def test_threads_are_set_within_the_block_alone() -> None:
    before = torch.get_num_threads()
    with using_threads(before + 1) as threads:
        assert threads == torch.get_num_threads() == before + 1
        machine = describe_machine(CPU, threads, Clock(CPU, threads))
    assert torch.get_num_threads() == before
    assert (machine["threads"], machine["torch"], machine["clock"]) == (
        str(threads),
        torch.__version__,
        "wall-clock time",
    )
    assert machine["device"]
    with using_threads(None) as threads:
        assert threads == before
