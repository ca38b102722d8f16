"""Layers that replace plain convolutions, linear layers and embeddings, and functions for whole models.

The layers do not depend on whole models. The functions `decompose`, `merge`, `save` and `load` belong to
`tensortrain.compression.model`, which is imported when one of them is first used.
"""

from typing import TYPE_CHECKING

from tensortrain.nn.attention import MultiheadAttention, WindowAttention
from tensortrain.nn.conv import ConvTransposeTT1d, ConvTransposeTT2d, ConvTransposeTT3d, ConvTT1d, ConvTT2d, ConvTT3d
from tensortrain.nn.embedding import TTEmbedding, TTEmbeddingBag
from tensortrain.nn.linear import TTLinear
from tensortrain.nn.low_rank import LowRankLinear

if TYPE_CHECKING:
    from tensortrain.compression.model import decompose, load, merge, save
else:

    def __getattr__(name: str) -> object:
        if name not in ("decompose", "load", "merge", "save"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from tensortrain.compression import model

        return getattr(model, name)


__all__ = [
    "ConvTT1d",
    "ConvTT2d",
    "ConvTT3d",
    "ConvTransposeTT1d",
    "ConvTransposeTT2d",
    "ConvTransposeTT3d",
    "LowRankLinear",
    "MultiheadAttention",
    "TTEmbedding",
    "TTEmbeddingBag",
    "TTLinear",
    "WindowAttention",
    "decompose",
    "load",
    "merge",
    "save",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
