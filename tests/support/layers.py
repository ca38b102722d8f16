"""Layers and convs to test, with integer weights where sums must be exact."""

import torch
import torch.nn.functional as F
from torch import nn

import tensortrain as tt
from tensortrain import ConvTensorTrain

PLAIN = {
    (1, False): (nn.Conv1d, tt.nn.ConvTT1d),
    (2, False): (nn.Conv2d, tt.nn.ConvTT2d),
    (3, False): (nn.Conv3d, tt.nn.ConvTT3d),
    (1, True): (nn.ConvTranspose1d, tt.nn.ConvTransposeTT1d),
    (2, True): (nn.ConvTranspose2d, tt.nn.ConvTransposeTT2d),
    (3, True): (nn.ConvTranspose3d, tt.nn.ConvTransposeTT3d),
}


ATTRIBUTES = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")


def integers(seed, *shape):
    """Small integers in float64, on which every sum below is exact."""
    return torch.randint(-2, 3, shape, generator=torch.Generator().manual_seed(seed)).double()


def normal(seed, *shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def integer_chain(seed, kernel_sizes, ranks, groups, transposed=False):
    cores = [
        integers(seed + l, *((i, o // g) if transposed else (o, i // g)), *k)
        for l, (k, g, o, i) in enumerate(zip(kernel_sizes, groups, ranks[:-1], ranks[1:], strict=True))
    ]
    return ConvTensorTrain(cores, groups=groups, transposed=transposed)


def dense_conv(chain, groups, bias, **settings):
    """The plain module that the layer must equal, put together by hand."""
    plain, _ = PLAIN[len(chain.kernel_size), chain.transposed]
    conv = plain(
        chain.in_channels, chain.out_channels, chain.kernel_size, groups=groups, bias=bias is not None,
        dtype=torch.float64, **settings,
    )  # fmt: skip
    conv.weight = nn.Parameter(chain.reconstruct())
    if bias is not None:
        conv.bias = nn.Parameter(bias)
    return conv


def small_layer(**settings):
    chain = ConvTensorTrain([normal(0, 4, 6, 3, 2) / 6, normal(1, 6, 3, 3, 3) / 5])
    return tt.nn.ConvTT2d(chain, normal(2, 4), **settings)


def lazily(conv):
    return nn.LazyConv2d(4, 3)


def own_forward(conv):
    class Standardised(nn.Conv2d):
        def forward(self, x):
            return F.conv2d(x, self.weight / self.weight.std(), self.bias)

    return Standardised(3, 4, 3)


def hooked(conv):
    conv.register_forward_hook(lambda *_: None)
    return conv


def parametrized(conv):
    return nn.utils.parametrizations.weight_norm(conv)


def tt_linear(**settings):
    linear = nn.Linear(24, 12, **settings).eval()
    return linear, tt.nn.TTLinear.from_linear(linear, (3, 4), (4, 6), rtol=1e-6)
