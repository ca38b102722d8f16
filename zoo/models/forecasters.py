"""Encoder–forecasters: models that read the observed frames, and then predict the horizon with other weights."""

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
    summary="FC-LSTM: recurrent layers that read whole frames as vectors.",
    parameters=142_667_776,
    feeds_back="conditioned",
    training_only=("composite",),
)
def make_fc_lstm(
    units: Sequence[int] = (2048, 2048),
    canvas: Sequence[int] = (64, 64),
    conditioned: bool = False,
    composite: bool = False,
    first: Literal["step", "state"] = "step",
    channels: int = 1,
) -> "FCLSTM":
    """An LSTM that reads frames as vectors, and a second LSTM that predicts from its states.

    The defaults are the model that the ConvLSTM paper of 2015 compares with: two layers of 2048 units, a forecaster
    that reads no frames, and no reconstruction. With `conditioned`, `composite` and `first` it becomes the other models
    of its own paper and code. For the network and its source see `zoo.networks.fc_lstm.FCLSTM`.

    Args:
        units: number of units of each layer, starting next to the frames.
        canvas: height and width of the frames.
        conditioned: whether the forecaster reads the frame before the one that it predicts.
        composite: whether to reconstruct the observed frames too, in training.
        first: "step" makes an LSTM step before the first prediction; "state" decodes it from the encoder's last state.
        channels: number of channels C of the frames.
    """
    from zoo.networks.fc_lstm import FCLSTM

    return FCLSTM(units, canvas, conditioned, composite, first, channels)


@register(
    "conv-lstm-2015",
    CONV_LSTM_2015,
    presets=PresetOptions(small={"hidden": [48, 32, 32]}, brief={"hidden": [48, 32, 32]}, demo={"hidden": [32, 16]}),
    summary="ConvLSTM encoder-forecaster of 2015, with peepholes.",
    parameters=7_585_296,
    feeds_back=False,
)
def make_conv_lstm_2015(
    hidden: Sequence[int] = (128, 64, 64), kernel: int = 5, channels: int = 1, patch: int = 4
) -> "EncoderForecaster":
    """An encoder of ConvLSTM layers that read the frames, and a forecaster of as many layers that predict.

    Peepholes have one weight for each channel, as the published parameter counts show, and not one for each pixel. The
    model predicts only the horizon, and reads no frames while it predicts. So it is trained without scheduled sampling.

    Args:
        hidden: channels of each layer, starting next to the frames.
        kernel: side k of all kernels of the recurrent layers.
        channels: number of channels C of the frames.
        patch: side of the blocks of pixels that become channels.
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
    summary="TrajGRU: a GRU that reads its past state along learned motion.",
    parameters=4_000_173,
    feeds_back=False,
)
def make_traj_gru(
    links: int = 13, first: int = 16, hidden: Sequence[int] = (64, 96, 96), channels: int = 1, patch: int = 1
) -> "GRUPyramid":
    """The network of the TrajGRU paper.

    It leaves out a convolution of the authors' code that is never used, and adds the flow where their code subtracts
    it. It reads no frames while it predicts, so it is trained without scheduled sampling. On a GPU, two equal
    trainings differ in their last bits.

    Args:
        links: L, the number of flow fields of every layer.
        first: channels of the first and of the last convolution.
        hidden: channels of each level, starting next to the frames.
        channels: number of channels C of the frames.
        patch: side of the blocks of pixels that become channels; 1 in the paper.
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
    summary="ConvGRU in the network of TrajGRU: the baseline of the TrajGRU paper.",
    parameters=4_767_281,
    feeds_back=False,
)
def make_conv_gru(
    kernel: int = 5, first: int = 16, hidden: Sequence[int] = (64, 96, 96), channels: int = 1, patch: int = 1
) -> "GRUPyramid":
    """The network of the TrajGRU paper, with convolutions of the state instead of flow fields.

    It reads no frames while it predicts, so it is trained without scheduled sampling.

    Args:
        kernel: side k of the kernels over the state; 3, 5 or 7 in the paper.
        first: channels of the first and of the last convolution.
        hidden: channels of each level, starting next to the frames.
        channels: number of channels C of the frames.
        patch: side of the blocks of pixels that become channels; 1 in the paper.
    """
    from zoo.cells.conv_gru import ConvGRUCell
    from zoo.networks.gru_pyramid import GRUPyramid

    return GRUPyramid(lambda inputs, count: ConvGRUCell(inputs, count, kernel), first, hidden, channels, patch)


@register(
    "mcnet",
    MCNET,
    presets=PresetOptions(
        small={"base": 20},
        brief={"base": 20},
        demo={"base": 8},
        # with the squared error, the last sigmoid is saturated at black after some 100 steps, and the gradient is 0
        digits={"l2": 0.0, "cross_entropy": 1.0},
    ),
    summary="MCnet's generator: separate encoders for motion and content.",
    parameters=14_093_953,
    feeds_back=True,
    training_only=("adversarial", "clip"),
)
def make_mcnet(
    base: int = 64, channels: int = 1, adversarial: float = 0.0, clip: Sequence[int] = (20, 128, 128)
) -> "MotionContentNetwork":
    """The generator of MCnet, optionally trained with an adversary.

    By default there is no adversary. With an adversary, both networks learn in the same step; in the authors' code they
    alternate. Channels are read as red, green and blue; the authors' code reads them as blue, green and red.

    On Moving-MNIST, the presets "small" and "demo" train it by the cross-entropy: with the squared error
    (`--training.l2 1 --training.cross_entropy 0`) it learns to predict black frames and no more. If your own clips have
    a black background too, set `--training.l2 0 --training.cross_entropy 1`.

    Args:
        base: channels of the first scale. The other scales have twice and four times as many.
        channels: number of channels C of the frames.
        adversarial: weight of the adversarial loss, 0.02 on KTH in the paper. The default is 0 (no adversary), because
            runs with it differ from seed to seed.
        clip: number of frames (the observed ones included), height and width of the clips that the adversary judges.
    """
    from zoo.networks.motion_content import MotionContentNetwork

    return MotionContentNetwork(base, channels, adversarial, clip)
