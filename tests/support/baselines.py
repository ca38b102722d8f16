"""The systems of the papers' tables with the weights of the reference outputs (`tests/reference/*.npz`)."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tests.support import reference
from zoo.cells.conv_gru import ConvGRUCell, TrajGRUCell
from zoo.cells.e3d_lstm import E3DLSTMCell
from zoo.cells.tt_recurrent import TTRecurrentCell
from zoo.networks.dynamic_filter import DynamicFilterNetwork
from zoo.networks.e3d import E3DNetwork
from zoo.networks.encoder_forecaster import EncoderForecaster
from zoo.networks.fc_lstm import FCLSTM
from zoo.networks.gru_pyramid import GRUPyramid
from zoo.networks.motion_content import MotionContentNetwork
from zoo.networks.motion_kernels import MotionKernelNetwork
from zoo.networks.video_pixel import MultiplicativeUnit, ResidualMultiplicativeBlock, VideoPixelBaseline

Weights = Mapping[str, Tensor]
State = dict[str, Tensor]


def read(name: str) -> tuple[dict[str, Any], State, State]:
    """Settings, weights by name, and the other tensors of a reference."""
    meta, weights, tensors = reference.read(name)
    return meta, {key.removeprefix("weight/"): value for key, value in weights.items()}, tensors


def loaded(module: nn.Module, state: Weights) -> Any:
    """The module in double precision with these weights, all of them and no others."""
    module.double().load_state_dict(dict(state))
    return module


def below(prefix: str, state: Weights) -> State:
    """A state under a prefix."""
    return {f"{prefix}.{name}": value for name, value in state.items()}


def affine(weights: Weights, name: str) -> State:
    """A convolution or a linear map."""
    return {"weight": weights[f"{name}.W"], "bias": weights[f"{name}.b"]}


def norm(weights: Weights, name: str) -> State:
    """A layer norm."""
    return {"weight": weights[f"{name}.gain"], "bias": weights[f"{name}.shift"]}


def conv_lstm(weights: Weights, name: str) -> State:
    """A ConvLSTM over [input, h] with gates i, f, g, o; ours are i, f, o, g, and the forget bias is in the bias."""

    def reordered(gates: Tensor) -> Tensor:
        i, f, g, o = gates.chunk(4)
        return torch.cat([i, f, o, g])

    joint, bias = reordered(weights[f"{name}.W"]), reordered(weights[f"{name}.b"]).clone()
    hidden = len(bias) // 4
    bias[hidden : 2 * hidden] += 1
    inputs = joint.shape[1] - hidden
    return {"from_x.weight": joint[:, :inputs], "from_h.weight": joint[:, inputs:], "from_x.bias": bias}


def peephole(weights: Weights, name: str) -> State:
    """A layer with peepholes, with or without input."""
    state = {
        "from_h.weight": weights[f"{name}.Wh"],
        "from_h.bias": weights[f"{name}.b"],
        "peepholes": torch.stack([weights[f"{name}.w_c{gate}"] for gate in "ifo"]),
    }
    if f"{name}.Wx" in weights:
        state["from_x.weight"] = weights[f"{name}.Wx"]
    return state


def gru(weights: Weights, name: str) -> State:
    """A layer of ConvGRU or TrajGRU, with or without input."""
    parts = {"from_x": "x", "from_h": "h", "flow_from_x": "gamma.x", "flow_from_h": "gamma.h", "flow": "gamma.uv"}
    state: State = {}
    for ours, part in parts.items():
        path, _, kind = part.rpartition(".")
        prefix = f"{name}.{path}." if path else f"{name}."
        if f"{prefix}W{kind}" in weights:
            state |= {f"{ours}.weight": weights[f"{prefix}W{kind}"], f"{ours}.bias": weights[f"{prefix}b_{kind}"]}
    return state


def gru_cell(meta: Mapping[str, Any], inputs: int, hidden: int) -> ConvGRUCell:
    """A layer of the kind that the reference is about."""
    if "links" in meta:
        return TrajGRUCell(inputs, hidden, meta["links"])
    return ConvGRUCell(inputs, hidden, meta["h2h_kernel"])


def e3d_cell(weights: Weights, prefix: str = "") -> State:
    """A layer of E3D-LSTM in either form."""
    names = {"from_x": "x", "from_h": "h", "from_m": "m", "from_new_c": "co", "from_new_m": "mo", "mix": "111"}
    state = {f"{ours}.weight": weights[f"{prefix}W{part}"] for ours, part in names.items()}
    state |= {"norm_c.weight": weights[f"{prefix}ln_c_gain"], "norm_c.bias": weights[f"{prefix}ln_c_shift"]}
    state["from_x.bias"] = weights[f"{prefix}b"]
    if f"{prefix}b_h" in weights:
        state |= {f"{ours}.bias": weights[f"{prefix}b_{part}"] for ours, part in names.items() if ours != "from_x"}
        for at, part in enumerate("xhm"):
            state[f"norms.{at}.weight"] = weights[f"{prefix}ln_{part}_gain"]
            state[f"norms.{at}.bias"] = weights[f"{prefix}ln_{part}_shift"]
    return state


def unit(weights: Weights, name: str) -> State:
    """A multiplicative unit, whose four convolutions are one."""
    return {
        "gates.weight": torch.cat([weights[f"{name}.W{gate}"] for gate in range(1, 5)]),
        "gates.bias": torch.cat([weights[f"{name}.b_{gate}"] for gate in range(1, 5)]),
    }


def block(weights: Weights, name: str) -> State:
    """A residual multiplicative block."""
    return (
        below("narrow", affine(weights, f"{name}.in"))
        | below("widen", affine(weights, f"{name}.out"))
        | below("units.0", unit(weights, f"{name}.mu1"))
        | below("units.1", unit(weights, f"{name}.mu2"))
    )


# ---- whole networks -------------------------------------------------------------------------------------------


def make_fc_lstm(meta: dict[str, Any], weights: Weights, first: str = "step") -> FCLSTM:
    """FC-LSTM in any of its three kinds."""
    composite = "reconstruction" in meta["decoders"]
    network = FCLSTM(meta["units"], meta["frame"][1:], meta["conditioned"], composite, first, 1)  # type: ignore[arg-type]
    state: State = {}
    for l in range(len(meta["units"])):
        state |= below(f"encoder.{l}", peephole(weights, f"encoder.{l}"))
        for decoder in meta["decoders"]:
            state |= below(f"{decoder}.layers.{l}", peephole(weights, f"{decoder}.{l}"))
    for decoder in meta["decoders"]:
        state |= below(f"{decoder}.output", affine(weights, f"{decoder}.output"))
    return loaded(network, state)  # type: ignore[no-any-return]


def make_conv_lstm_2015(meta: dict[str, Any], weights: Weights) -> EncoderForecaster:
    """The ConvLSTM network of 2015."""
    network = EncoderForecaster(meta["hidden"], meta["kernel"], 1, meta["patch"])
    state = below("output", affine(weights, "output"))
    for l in range(len(meta["hidden"])):
        for part in ("encoder", "forecaster"):
            state |= below(f"{part}.{l}", peephole(weights, f"{part}.{l}"))
    return loaded(network, state)  # type: ignore[no-any-return]


def make_gru_pyramid(meta: dict[str, Any], weights: Weights) -> GRUPyramid:
    """The networks of the TrajGRU paper."""
    network = GRUPyramid(lambda inputs, count: gru_cell(meta, inputs, count), meta["first"], meta["hidden"], 1)
    state = below("last", affine(weights, "forecaster.conv")) | below("output", affine(weights, "forecaster.output"))
    for l in range(len(meta["hidden"])):
        state |= below(f"reduce.{l}", affine(weights, f"encoder.conv.{l}"))
        state |= below(f"enlarge.{l}", affine(weights, f"forecaster.up.{l}"))
        for part in ("encoder", "forecaster"):
            state |= below(f"{part}.{l}", gru(weights, f"{part}.rnn.{l}"))
    return loaded(network, state)  # type: ignore[no-any-return]


def make_dfn(meta: dict[str, Any], weights: Weights) -> DynamicFilterNetwork:
    """A dynamic filter network."""
    network = DynamicFilterNetwork(
        meta["widths"], meta["filter_size"], meta["dynamic_bias"], centre_bias=0.0, channels=1
    )
    names = {f"read_frame.{at}": f"e{at + 1}" for at in range(5)}
    names |= {"read_state.0": "h1", "read_state.1": "h2", "decode_coarse.0": "d1", "decode_coarse.1": "d2"}
    names |= {"decode_fine.0": "d3", "decode_fine.1": "d4", "decode_fine.2": "d5", "filters": "filters"}
    state: State = {}
    for ours, name in names.items():
        state |= below(ours, affine(weights, name))
    return loaded(network, state)  # type: ignore[no-any-return]


def make_cdna(
    meta: dict[str, Any], weights: Weights, padding: str = "centred", eps: float = 1e-5
) -> MotionKernelNetwork:
    """CDNA with all masks, in either padding."""
    network = MotionKernelNetwork(meta["widths"], meta["kernels"], meta["frame"][1:], 1, padding, eps)  # type: ignore[arg-type]
    state: State = {"conv1.weight": weights["conv1.W"], "up3.weight": weights["up3.W"]}
    state |= below("norm1", norm(weights, "conv1.ln")) | below("norm3", norm(weights, "up3.ln"))
    names = {name: name for name in ("conv2", "conv3", "conv4", "up1", "up2", "masks")}
    for ours, name in (names | {"paint": "G", "draw": "kernels"}).items():
        state |= below(ours, affine(weights, name))
    for l in range(7):
        state |= below(f"lstms.{l}.cell", conv_lstm(weights, f"lstm{l + 1}"))
        state |= below(f"lstms.{l}.norm", norm(weights, f"lstm{l + 1}.ln"))
    return loaded(network, state)  # type: ignore[no-any-return]


def make_vpn_baseline(meta: dict[str, Any], weights: Weights) -> VideoPixelBaseline:
    """The VPN baseline."""
    network = VideoPixelBaseline(meta["c"], meta["encoder_dilations"], meta["decoder_blocks"], 1, 1)
    state = below("input", affine(weights, "input")) | below("output", affine(weights, "output"))
    state |= below("memory", conv_lstm(weights, "lstm"))
    for part, count in (("encoder", len(meta["encoder_dilations"])), ("decoder", meta["decoder_blocks"])):
        for at in range(count):
            state |= below(f"{part}.{at}", block(weights, f"{part}.{at}"))
    return loaded(network, state)  # type: ignore[no-any-return]


def make_mcnet(meta: dict[str, Any], weights: Weights) -> MotionContentNetwork:
    """MCnet's generator."""
    state = below("memory", conv_lstm(weights, "lstm"))
    for s in range(3):
        state |= below(f"motion.convs.{s}", affine(weights, f"motion.{s + 1}"))
        state |= below(f"combine.{2 * s}", affine(weights, f"combine.{s + 1}"))
        state |= below(f"skips.{s}.0", affine(weights, f"residual.{s + 1}_1"))
        state |= below(f"skips.{s}.2", affine(weights, f"residual.{s + 1}_2"))
        depth = 3 if s == 2 else 2
        for at in range(depth):
            state |= below(f"content.stages.{s}.{2 * at}", affine(weights, f"content.{s + 1}_{at + 1}"))
            state |= below(f"decoder.{s}.{at}", affine(weights, f"decoder.{s + 1}_{depth - at}"))
    return loaded(MotionContentNetwork(meta["base"], 1), state)  # type: ignore[no-any-return]


def make_e3d(meta: dict[str, Any], weights: Weights, eps: float = 1e-5) -> E3DNetwork:
    """E3D-LSTM in either form."""
    network = E3DNetwork(meta["hidden"], meta["layers"], meta["form"], eps, meta["frame"][0], 1)
    state = below("output", affine(weights, "output"))
    for l in range(meta["layers"]):
        state |= below(f"layers.{l}", e3d_cell(weights, f"layers.{l}."))
    return loaded(network, state)  # type: ignore[no-any-return]


NETWORKS: dict[str, Callable[[dict[str, Any], Weights], nn.Module]] = {
    "fc_lstm_unconditioned": make_fc_lstm,
    "fc_lstm_conditioned": make_fc_lstm,
    "convlstm2015": make_conv_lstm_2015,
    "trajgru_net": make_gru_pyramid,
    "convgru_net": make_gru_pyramid,
    "dfn": make_dfn,
    "dfn_dynamic_bias": make_dfn,
    "cdna": make_cdna,
    "vpn_baseline": make_vpn_baseline,
    "vpn_baseline_dilated": make_vpn_baseline,
    "mcnet": make_mcnet,
    "e3d_lstm_paper": make_e3d,
    "e3d_lstm_released": make_e3d,
}

__all__ = [
    "NETWORKS",
    "E3DLSTMCell",
    "MultiplicativeUnit",
    "ResidualMultiplicativeBlock",
    "TTRecurrentCell",
    "block",
    "e3d_cell",
    "gru",
    "gru_cell",
    "loaded",
    "make_cdna",
    "make_e3d",
    "make_fc_lstm",
    "read",
    "unit",
]
