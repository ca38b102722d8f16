"""Layers: drop-in replacements for plain convs and linear layers, and whole networks of them."""

from tensortrain.nn.conv import ConvTransposeTT1d, ConvTransposeTT2d, ConvTransposeTT3d, ConvTT1d, ConvTT2d, ConvTT3d
from tensortrain.nn.linear import TTLinear
from tensortrain.nn.network import decompose, load, save

__all__ = [
    "ConvTT1d",
    "ConvTT2d",
    "ConvTT3d",
    "ConvTransposeTT1d",
    "ConvTransposeTT2d",
    "ConvTransposeTT3d",
    "TTLinear",
    "decompose",
    "load",
    "save",
]
