"""The systems of the papers' tables against outputs and gradients of independent implementations, and their counts."""

from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from tests.support import baselines as base
from tests.support.baselines import read
from zoo.errors import ZooError


def close(value: Tensor, expected: Tensor, bound: float = 1e-10) -> None:
    """Within `bound` of the largest absolute entry."""
    torch.testing.assert_close(value, expected, rtol=0, atol=bound * float(expected.abs().max()))


@pytest.mark.parametrize("name", base.NETWORKS)
def test_predictions_and_gradients(name: str) -> None:
    meta, weights, data = read(name)
    network = base.NETWORKS[name](meta, weights)
    x = data["x"].requires_grad_()
    y = network(x, meta["future_frames"])
    close(y.detach(), data["y"])
    y.square().sum().div(2).backward()
    assert x.grad is not None
    close(x.grad, data["grad_x"], 1e-8)
    total = sum(float(p.grad.square().sum()) for p in network.parameters() if p.grad is not None)
    expected = sum(norm**2 for norm in meta["grad_norm"].values())
    assert total == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("name", ["fc_lstm_unconditioned", "fc_lstm_conditioned", "fc_lstm_composite"])
def test_fc_lstm_may_read_the_first_prediction_off_the_state(name: str) -> None:
    meta, weights, data = read(name)
    network = base.make_fc_lstm(meta, weights, "state").eval()
    close(network(data["x"], meta["future_frames"]), data["y_copy_first"])


def test_fc_lstm_reads_true_frames() -> None:
    meta, weights, data = read("fc_lstm_conditioned")
    always = torch.ones(2, meta["future_frames"] - 1, dtype=torch.bool)
    y = base.make_fc_lstm(meta, weights)(data["x"], meta["future_frames"], data["x_future"], always)
    close(y, data["y_forced"])


def test_fc_lstm_reconstructs_what_it_has_read() -> None:
    meta, weights, data = read("fc_lstm_composite")
    network = base.make_fc_lstm(meta, weights)
    both = network(data["x"], meta["future_frames"])
    close(both[:, : meta["input_frames"]], data["reconstruction"].flip(1))
    close(both[:, meta["input_frames"] :], data["y"])
    close(network.eval()(data["x"], meta["future_frames"]), data["y"])


@pytest.mark.parametrize("name", ["trajgru_cell", "convgru_cell"])
def test_gru_cells(name: str) -> None:
    meta, weights, data = read(name)
    cell = base.loaded(base.gru_cell(meta, meta["input_channels"], meta["hidden_channels"]), base.gru(weights, "cell"))
    close(cell.run(data["x"], data["h0"]), data["h"])
    close(cell(None, data["h0"]), data["h_without_input"])


@pytest.mark.parametrize("padding", ["centred", "tensorflow"])
@pytest.mark.parametrize("eps", [1e-5, 1e-12])
def test_cdna_in_both_paddings(padding: str, eps: float) -> None:
    meta, weights, data = read("cdna")
    y = base.make_cdna(meta, weights, padding, eps)(data["x"], meta["future_frames"])
    close(y, data[("y" if padding == "centred" else "y_tf_same") + ("" if eps == 1e-5 else "_eps1e-12")])


@pytest.mark.parametrize("form", ["paper", "released"])
@pytest.mark.parametrize("eps", [1e-5, 1e-12])
def test_e3d_lstm(form: str, eps: float) -> None:
    suffix = "" if eps == 1e-5 else "_eps1e-12"
    meta, weights, data = read(f"e3d_lstm_cell_{form}")
    cell = base.loaded(base.E3DLSTMCell(meta["input_channels"], meta["hidden"], form, eps), base.e3d_cell(weights))  # type: ignore[arg-type]
    outputs = cell(data["x"], data["h"], data["c"], data["m"], data["past"])
    for output, name in zip(outputs, ("h_new", "c_new", "m_new"), strict=True):
        close(output, data[name + suffix])
    meta, weights, data = read(f"e3d_lstm_{form}")
    close(base.make_e3d(meta, weights, eps)(data["x"], meta["future_frames"]), data["y" + suffix])


def test_vpn_units() -> None:
    _, weights, data = read("vpn_units")
    close(base.loaded(base.MultiplicativeUnit(3, 1), base.unit(weights, "mu"))(data["x_mu"]), data["y_mu"])
    for dilation, name in ((1, "y"), (2, "y_rmb_dilation2")):
        block = base.loaded(base.ResidualMultiplicativeBlock(3, dilation), base.block(weights, "rmb"))
        close(block(data["x_rmb"]), data[name])


@pytest.mark.parametrize("name", ["tt_rnn", "tt_lstm"])
def test_tensor_train_cells(name: str) -> None:
    meta, weights, data = read(name)
    cell = base.TTRecurrentCell(meta["input"], meta["hidden"], meta["lags"], meta["ranks"], name == "tt_lstm")
    state = {"from_x.weight": weights["cell.0.U"], "from_x.bias": weights["cell.0.b"]}
    state |= {f"cores.{p}": weights[f"cell.0.A.{p}"] for p in range(len(meta["ranks"]) + 1)}
    h, _ = base.loaded(cell, state).run(data["x"].transpose(0, 1), cell.initial_state(2, dtype=torch.float64))
    close(h.transpose(0, 1), data["h"])


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("fc-lstm", {"units": [2048], "conditioned": True}, 109_084_672),
        ("fc-lstm", {"conditioned": True}, 176_222_208),
        ("fc-lstm", {"units": [2048], "conditioned": True, "composite": True}, 167_823_360),
        ("fc-lstm", {"conditioned": True, "composite": True}, 268_529_664),
        ("fc-lstm", {"units": [512, 512]}, 16_795_648),
        ("fc-lstm", {"units": [512, 512], "conditioned": True}, 25_184_256),
        ("conv-lstm-2015", {"hidden": [256]}, 13_524_496),
        ("conv-lstm-2015", {"hidden": [128, 128]}, 10_042_896),
        ("traj-gru", {"links": 5}, 2_841_933),
        ("traj-gru", {"links": 9}, 3_421_053),
        ("traj-gru", {"links": 17}, 4_579_293),
        ("conv-gru", {"kernel": 3}, 2_604_593),
        ("conv-gru", {"kernel": 7}, 8_011_313),
        ("dfn", {"dynamic_bias": True}, 637_490),
        ("e3d-lstm", {"form": "released"}, 12_898_832),
        ("e3d-lstm", {"patch": 8}, 13_150_528),
        ("e3d-lstm", {"patch": 8, "form": "released"}, 13_980_224),
        ("e3d-lstm", {"hidden": 128}, 47_550_992),
        ("e3d-lstm", {"hidden": 128, "form": "released"}, 50_848_784),
        ("cdna", {"channels": 3}, 8_311_337),
        ("cdna", {"form": "released"}, 8_309_542),
        ("cdna", {"form": "released", "channels": 3}, 8_311_272),
        ("vpn-baseline", {"width": 32, "dilations": [1] * 4, "decoder_blocks": 6}, 1_077_121),
        ("vpn-baseline", {"width": 16, "dilations": [1] * 4, "decoder_blocks": 6}, 270_273),
    ],
)
def test_published_counts(name: str, options: dict[str, Any], count: int) -> None:
    """Those of the default options are tested with those of all other models."""
    with torch.device("meta"):
        model = zoo.create_model(name, **options)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


@pytest.mark.parametrize(("hidden", "lags", "ranks", "count"), [(16, 2, [2], 4546), (16, 3, [2, 2], 6822)])
def test_published_counts_of_tensor_train_cells(hidden: int, lags: int, ranks: list[int], count: int) -> None:
    cell = base.TTRecurrentCell(3, hidden, lags, ranks, lstm=True)
    assert sum(parameter.numel() for parameter in cell.parameters()) == count


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("fc-lstm", {"units": []}, r"units = \[\]"),
        ("fc-lstm", {"canvas": [64]}, "canvas"),
        ("fc-lstm", {"first": "last"}, "first = 'last'"),
        ("conv-lstm-2015", {"hidden": []}, r"hidden = \[\]"),
        ("traj-gru", {"hidden": [0]}, "each must be at least 1"),
        ("cdna", {"canvas": [60, 64]}, "multiples of 8"),
        ("cdna", {"kernels": 0}, "kernels = 0"),
        ("cdna", {"form": "mended"}, "form = 'mended'"),
        ("dfn", {"filter_size": 8}, "must be odd"),
        ("dfn", {"widths": [8, 16]}, "three numbers"),
        ("vpn-baseline", {"dilations": []}, "at least one encoder block"),
        ("mcnet", {"base": 0}, "base = 0"),
        ("e3d-lstm", {"layers": 0}, "layers = 0"),
        ("e3d-lstm", {"form": "mended"}, "form = 'mended'"),
    ],
)
def test_bad_options(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ZooError, match=words):
        zoo.create_model(name, **options)


def test_frames_of_another_canvas_are_refused() -> None:
    model = zoo.create_model("fc-lstm", units=[4], canvas=[8, 12])
    with pytest.raises(ZooError, match=r"made for 8×12; make one with canvas = \[12, 8\]"):
        model(torch.rand(1, 2, 1, 12, 8), 1)


@pytest.mark.parametrize("shift", [-2.0, -4.0, -8.0])
def test_black_pixels_of_mcnet_still_learn_in_bfloat16(shift: float) -> None:
    """By tanh, whose values near -1 are 2^-8 apart in bfloat16, their gradients were exactly 0."""
    network: Any = zoo.create_model("mcnet", base=1)
    bias = network.decoder[0][-1].bias
    torch.nn.init.zeros_(network.decoder[0][-1].weight)
    torch.nn.init.constant_(bias, shift)
    x = torch.rand(1, 2, 1, 8, 8)
    gradients = []
    for rough in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=rough):
            gradients.append(torch.autograd.grad(network(x, 1).sum(), bias)[0])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0.02, atol=0.0)


def test_mcnet_needs_two_frames() -> None:
    with pytest.raises(ZooError, match="at least 2"):
        zoo.create_model("mcnet", base=1)(torch.rand(1, 1, 1, 8, 8), 1)
