"""Models that read a frame and predict the next at every step, by filtering the last frame or generating a new one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from zoo.errors import ZooError
from zoo.papers import CDNA, DFN, E3D_LSTM, VPN
from zoo.registry import PresetOptions, register

if TYPE_CHECKING:
    from zoo.networks.dynamic_filter import DynamicFilterNetwork
    from zoo.networks.e3d import E3DNetwork
    from zoo.networks.motion_kernels import MotionKernelNetwork
    from zoo.networks.video_pixel import VideoPixelBaseline


@register(
    "cdna",
    CDNA,
    presets=PresetOptions(
        small={"widths": [15, 30, 30]}, brief={"widths": [15, 30, 30]}, demo={"widths": [8, 16, 16], "kernels": 6}
    ),
    summary="CDNA: moves the pixels of the last frame by a few kernels, and paints the rest.",
    parameters=8_309_607,
)
def make_cdna(
    widths: Sequence[int] = (32, 64, 128),
    kernels: int = 10,
    canvas: Sequence[int] = (64, 64),
    channels: int = 1,
    form: Literal["paper", "released"] = "paper",
    motion: Literal["cdna", "dna", "stp"] = "cdna",
) -> "MotionKernelNetwork":
    """CDNA without actions, or one of its variants STP and DNA.

    It differs from the paper in that it reads no actions and states of a robot: videos have none. Each of its kernels
    has a mask, so all of them have an effect; in the authors' code, `form="released"`, the last one has none. The
    linear map that computes the kernels depends on the size of the frames, and holds a quarter of the parameters. With
    the motion "stp", two equal trainings on a GPU differ in their last bits.

    Args:
        widths: channels of the ConvLSTMs at 1/2, 1/4 and 1/8 of the resolution.
        kernels: J, the number of transformations in each step; DNA ignores it.
        canvas: height and width of the frames.
        channels: number of channels C of the frames.
        form: "paper" or "released". "released" computes what the authors' code does: the padding of TensorFlow, layer
            norms with an epsilon of 1e-12, a ReLU on the painted frame and on the masks, and no mask for the last
            kernel, which then has no effect.
        motion: "cdna" moves pixels by J kernels, "stp" by J affine maps, and "dna" each pixel by its own kernel.
    """
    from zoo.networks.motion_kernels import MotionKernelNetwork

    if form == "paper":
        return MotionKernelNetwork(widths, kernels, canvas, channels, motion=motion)
    if form == "released":
        return MotionKernelNetwork(
            widths, kernels, canvas, channels, "tensorflow", eps=1e-12, all_masks=False, rectified=True, motion=motion
        )
    raise ZooError(f'form = {form!r} must be "paper" or "released"')


@register(
    "dfn",
    DFN,
    presets=PresetOptions(
        small={"widths": [20, 40, 80]},
        brief={"widths": [12, 24, 48]},
        demo={"widths": [8, 16, 32]},
        filmed={"centre_bias": 6.0},
    ),
    summary="Dynamic filter network: computes a filter for each pixel of the last frame.",
    parameters=637_361,
    training_only=("centre_bias",),
)
def make_dfn(
    widths: Sequence[int] = (32, 64, 128),
    filter_size: int = 9,
    dynamic_bias: bool = False,
    centre_bias: float = 0.0,
    channels: int = 1,
) -> "DynamicFilterNetwork":
    """A dynamic filter network: each pixel of the next frame is a weighted mean of nearby pixels of the last frame.

    Nothing follows the filter. So without `dynamic_bias` the network can neither brighten a pixel nor restore one that
    has left the frame.

    Args:
        widths: channels of the convolutions at full resolution, half resolution, and at the deepest level.
        filter_size: side k of the filters, an odd number.
        dynamic_bias: whether to compute one more map, which is added to the frame before it is filtered.
        centre_bias: a number that is added to the initial logit of each filter's centre. With 6, which the presets use
            for filmed videos, five sixths of each pixel come at first from the same place of the last frame.
        channels: number of channels C of the frames.
    """
    from zoo.networks.dynamic_filter import DynamicFilterNetwork

    return DynamicFilterNetwork(widths, filter_size, dynamic_bias, centre_bias, channels)


@register(
    "vpn-baseline",
    VPN,
    presets=PresetOptions(
        small={"width": 32, "dilations": [1] * 4, "decoder_blocks": 6, "patch": 4},
        brief={"width": 32, "dilations": [1] * 4, "decoder_blocks": 6, "patch": 4},
        demo={"width": 16, "dilations": [1] * 2, "decoder_blocks": 2, "patch": 4},
    ),
    summary="Baseline of the video pixel networks: predicts all pixels of a frame at once.",
    parameters=29_652_225,
)
def make_vpn_baseline(
    width: int = 128,
    dilations: Sequence[int] = (1, 2, 4, 8, 1, 2, 4, 8),
    decoder_blocks: int = 12,
    channels: int = 1,
    patch: int = 1,
) -> "VideoPixelBaseline":
    """The VPN baseline: residual multiplicative blocks, with one ConvLSTM between them.

    The decoder reads whole frames. The masked decoder of the full video pixel network is not included.

    Args:
        width: c, the width of the multiplicative units. Blocks and ConvLSTM have 2c channels.
        dilations: the dilation of each encoder block.
        decoder_blocks: number of decoder blocks.
        channels: number of channels C of the frames.
        patch: side of the blocks of pixels that become channels; 1 in the paper. Above 1, the network no longer works
            at full resolution.
    """
    from zoo.networks.video_pixel import VideoPixelBaseline

    return VideoPixelBaseline(width, dilations, decoder_blocks, channels, patch)


@register(
    "e3d-lstm",
    E3D_LSTM,
    presets=PresetOptions(
        small={"hidden": 22, "layers": 3, "patch": 8},
        brief={"hidden": 22, "layers": 3, "patch": 8},
        demo={"hidden": 12, "layers": 2, "patch": 8},
    ),
    summary="E3D-LSTM: 3-D convolutions, and attention to all past memory states.",
    parameters=12_069_136,
)
def make_e3d_lstm(
    hidden: int = 64,
    layers: int = 4,
    channels: int = 1,
    patch: int = 4,
    form: Literal["paper", "released"] = "paper",
) -> "E3DNetwork":
    """E3D-LSTM: recurrent layers with 3-D convolutions over pairs of frames, and attention to their past memories.

    In the form "paper", each layer passes the new memory m on, and only the memory c has a layer norm. The authors'
    code, `form="released"`, passes the old m on, which therefore stays zero, and has more biases and layer norms;
    `zoo.cells.e3d_lstm.E3DLSTMCell` lists the differences. On a GPU, two equal trainings differ in their last bits.

    Args:
        hidden: channels of every layer.
        layers: number of layers.
        channels: number of channels C of the frames.
        patch: side of the blocks of pixels that become channels; 4 for Moving-MNIST and 8 for KTH in the authors' code.
        form: "paper" or "released". "released" computes what the authors' code does, with an epsilon of 1e-12 in layer
            norms; see `zoo.cells.e3d_lstm.E3DLSTMCell`.
    """
    from zoo.networks.e3d import E3DNetwork

    return E3DNetwork(hidden, layers, form, 1e-12 if form == "released" else 1e-5, channels, patch)
