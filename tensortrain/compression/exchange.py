"""Put attention modules that call their projections in the place of those that read the weights of theirs."""

from collections.abc import Callable, Container
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from tensortrain.compression.modules import swap
from tensortrain.nn.attention import MultiheadAttention, WindowAttention


def exchangeable(model: nn.Module) -> dict[str, nn.Module]:
    """The attention modules, by name, whose weights are out of reach as they are.

    >>> list(exchangeable(nn.TransformerEncoderLayer(8, 2)))
    ['self_attn']
    """
    return {
        name: module
        for name, module in model.named_modules()
        if _substitute(module) is not None and not any(map(parametrize.is_parametrized, module.modules()))
    }


def exchange(model: nn.Module, names: Container[str]) -> nn.Module:
    """Exchange those of the attention modules whose names are among `names`, in place; outputs stay equal.

    Where padding is masked, an `nn.TransformerEncoder` no longer returns zeros at masked positions.
    """
    for name, module in exchangeable(model).items():
        if name in names:
            substitute = _substitute(module)
            assert substitute is not None
            model = swap(model, {name: substitute(module)})
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoder) and _has_substitutes(module):
            module.use_nested_tensor = False  # nested tensors are for kernels that read the weights
    return model


def _substitute(module: nn.Module) -> Callable[[Any], nn.Module] | None:
    """What makes the module that takes the place of another."""
    if isinstance(module, nn.MultiheadAttention) and type(module).forward is nn.MultiheadAttention.forward:
        return MultiheadAttention.like
    if WindowAttention.recognises(module):
        return WindowAttention.like
    if getattr(module, "qkv_bias_separate", None) is False and isinstance(getattr(module, "qkv", None), nn.Module):
        return _with_separate_bias
    return None


def _with_separate_bias(module: Any) -> nn.Module:
    """Modules of timm that add the bias of a fused `qkv` layer themselves: they call the layer if they are told to."""
    module.qkv_bias_separate = True
    attention: nn.Module = module
    return attention


def _has_substitutes(module: nn.Module) -> bool:
    return any(isinstance(m, MultiheadAttention) for m in module.modules())
