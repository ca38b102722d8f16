"""Layers: drop-in replacements for plain convs and linear layers, and whole networks of them."""

from tensortrain.compression.model import decompose, load, save
from tensortrain.nn.conv import ConvTransposeTT1d, ConvTransposeTT2d, ConvTransposeTT3d, ConvTT1d, ConvTT2d, ConvTT3d
from tensortrain.nn.linear import TTLinear

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
