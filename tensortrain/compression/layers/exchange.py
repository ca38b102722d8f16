"""Put attention modules that call their projections in the place of those that read the weights of theirs."""

from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from tensortrain.compression.layers.modules import swap
from tensortrain.compression.state_dicts.names import join
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


def exchanged(model: nn.Module) -> list[str]:
    """The names of the modules of a network that `exchange` may have put there."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, MultiheadAttention | WindowAttention)
        or getattr(module, "qkv_bias_separate", False) is True
    ]


def exchanged_tensors(tensors: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """The tensors of a network's `state_dict` as they are called once its attention modules have been exchanged.

    >>> import torch
    >>> list(exchanged_tensors({"a.in_proj_bias": torch.zeros(6), "b": torch.zeros(1)}, ["a"]))
    ['b', 'a.q_proj.bias', 'a.k_proj.bias', 'a.v_proj.bias']
    """
    renamed = dict(tensors)
    projections = ("q_proj", "k_proj", "v_proj")
    for name in names:
        for part in ("weight", "bias"):
            joint = renamed.pop(join(name, f"in_proj_{part}"), None)
            if joint is not None:
                parts = zip(projections, joint.chunk(3), strict=True)
                renamed |= {join(name, f"{projection}.{part}"): value for projection, value in parts}
        for projection in projections:
            own = renamed.pop(join(name, f"{projection}_weight"), None)
            if own is not None:
                renamed[join(name, f"{projection}.weight")] = own
    return renamed


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
