"""Encoder–forecasters: they read the observed frames, then predict those of the horizon with other weights."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from zoo.papers import CONV_LSTM_2015, FC_LSTM, MCNET, TRAJ_GRU
from zoo.registry import PresetOptions, register

if TYPE_CHECKING:
    from zoo.networks.encoder_forecaster import EncoderForecaster
    from zoo.networks.fc_lstm import FCLSTM
    from zoo.networks.gru_pyramid import GRUPyramid
    from zoo.networks.motion_content import MotionContentNetwork


@register(
    "fc-lstm",
    FC_LSTM,
    presets=PresetOptions(small={"units": [512, 512]}, brief={"units": [512, 512]}, demo={"units": [128]}),
    summary="FC-LSTM: recurrent layers over whole frames as vectors.",
    parameters=142_667_776,
    feeds_back="conditioned",
)
def make_fc_lstm(
    units: Sequence[int] = (2048, 2048),
    canvas: Sequence[int] = (64, 64),
    conditioned: bool = False,
    composite: bool = False,
    first: Literal["step", "state"] = "step",
    channels: int = 1,
) -> "FCLSTM":
    """An LSTM that reads frames as vectors, and another one that predicts from its states.

    The defaults are the form that the ConvLSTM paper of 2015 compares with: two layers of 2048 units, a forecaster that
    reads no frames, and no reconstruction. `conditioned`, `composite` and `first` make the others of its own paper and
    code.

    Args:
        units: number of units of each layer, from the frames up.
        canvas: height and width of the frames.
        conditioned: read the frame before while predicting the next one.
        composite: reconstruct the observed frames too, in training.
        first: make an LSTM step before the first prediction, or read it straight off the encoder's state.
        channels: C of the frames.
    """
    from zoo.networks.fc_lstm import FCLSTM

    return FCLSTM(units, canvas, conditioned, composite, first, channels)


@register(
    "conv-lstm-2015",
    CONV_LSTM_2015,
    presets=PresetOptions(small={"hidden": [48, 32, 32]}, brief={"hidden": [48, 32, 32]}, demo={"hidden": [32, 16]}),
    summary="The ConvLSTM encoder-forecaster of 2015, with peepholes.",
    parameters=7_585_296,
    feeds_back=False,
)
def make_conv_lstm_2015(
    hidden: Sequence[int] = (128, 64, 64), kernel: int = 5, channels: int = 1, patch: int = 4
) -> "EncoderForecaster":
    """ConvLSTM layers that read, and as many that predict.

    Peepholes have one weight for each channel, as the published counts say, not one for each pixel. The model predicts
    the horizon alone and reads no frames meanwhile, so it trains without scheduled sampling.

    Args:
        hidden: channels of each layer, from the frames up.
        kernel: side of every recurrent layer's kernels.
        channels: C of the frames.
        patch: side of the pixel blocks folded into channels.
    """
    from zoo.networks.encoder_forecaster import EncoderForecaster

    return EncoderForecaster(hidden, kernel, channels, patch)


@register(
    "traj-gru",
    TRAJ_GRU,
    presets=PresetOptions(
        small={"links": 5, "hidden": [48, 60, 60], "patch": 2},
        brief={"links": 5, "hidden": [48, 60, 60], "patch": 2},
        demo={"links": 3, "first": 8, "hidden": [16, 24], "patch": 2},
    ),
    summary="TrajGRU: a GRU that looks for its past where things have moved from.",
    parameters=4_000_173,
    feeds_back=False,
)
def make_traj_gru(
    links: int = 13, first: int = 16, hidden: Sequence[int] = (64, 96, 96), channels: int = 1, patch: int = 1
) -> "GRUPyramid":
    """The network of the TrajGRU paper.

    Of the authors' code it leaves out a convolution that is never used, and adds the flow that they subtract. It reads
    no frames while it predicts, so it trains without scheduled sampling. On a GPU its bits do not repeat.

    Args:
        links: L, flow fields of every layer.
        first: channels of the first and of the last convolution.
        hidden: channels of each level, from the frames up.
        channels: C of the frames.
        patch: side of the pixel blocks folded into channels; 1 in the paper.
    """
    from zoo.cells.conv_gru import TrajGRUCell
    from zoo.networks.gru_pyramid import GRUPyramid

    return GRUPyramid(lambda inputs, count: TrajGRUCell(inputs, count, links), first, hidden, channels, patch)


@register(
    "conv-gru",
    TRAJ_GRU,
    presets=PresetOptions(
        small={"hidden": [48, 48, 48], "patch": 2},
        brief={"hidden": [48, 48, 48], "patch": 2},
        demo={"first": 8, "hidden": [16, 24], "patch": 2},
    ),
    summary="ConvGRU in the network of TrajGRU: that paper's baseline.",
    parameters=4_767_281,
    feeds_back=False,
)
def make_conv_gru(
    kernel: int = 5, first: int = 16, hidden: Sequence[int] = (64, 96, 96), channels: int = 1, patch: int = 1
) -> "GRUPyramid":
    """The network of the TrajGRU paper with convolutions of the state in the place of flows.

    It reads no frames while it predicts, so it trains without scheduled sampling.

    Args:
        kernel: side of the kernels over the state; 3, 5 or 7 in the paper.
        first: channels of the first and of the last convolution.
        hidden: channels of each level, from the frames up.
        channels: C of the frames.
        patch: side of the pixel blocks folded into channels; 1 in the paper.
    """
    from zoo.cells.conv_gru import ConvGRUCell
    from zoo.networks.gru_pyramid import GRUPyramid

    return GRUPyramid(lambda inputs, count: ConvGRUCell(inputs, count, kernel), first, hidden, channels, patch)


@register(
    "mcnet",
    MCNET,
    presets=PresetOptions(small={"base": 20}, brief={"base": 20}, demo={"base": 8}),
    summary="MCnet's generator: one encoder for what moves, one for what is there.",
    parameters=14_093_953,
    feeds_back=True,
)
def make_mcnet(
    base: int = 64, channels: int = 1, adversarial: float = 0.0, clip: Sequence[int] = (20, 128, 128)
) -> "MotionContentNetwork":
    """The generator of MCnet, and in training its adversary.

    By default there is no adversary. With one, both networks learn in the same step, where the authors' code takes
    turns. Colours are read as red, green and blue; the authors' code takes them for blue, green and red.

    Args:
        base: channels of the first scale; the others have twice and four times as many.
        channels: C of the frames.
        adversarial: weight of the adversarial loss, 0.02 on KTH in the paper. By default there is none, since runs
            with it differ from seed to seed.
        clip: frames, height and width of the clips that the adversary judges, the observed frames included.
    """
    from zoo.networks.motion_content import MotionContentNetwork

    return MotionContentNetwork(base, channels, adversarial, clip)
