"""Replace attention modules that read the weights of their projections by modules that call the projections."""

import itertools
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from tensortrain import checks
from tensortrain.compression.layers.modules import places, swap
from tensortrain.compression.state_dicts.names import join
from tensortrain.nn.attention import MultiheadAttention, WindowAttention


def exchangeable(model: nn.Module) -> dict[str, nn.Module]:
    """Return the attention modules that must be exchanged before their projections can be replaced, by name.

    >>> list(exchangeable(nn.TransformerEncoderLayer(8, 2)))
    ['self_attn']
    """
    kept = unexchangeable(model)
    return {
        name: module for name, module in model.named_modules() if _substitute(module) is not None and name not in kept
    }


def unexchangeable(model: nn.Module) -> dict[str, str]:
    """Return the attention modules that read the weights of their projections but stay as they are, with the reasons.

    >>> net = nn.ModuleList([nn.MultiheadAttention(8, 2), nn.MultiheadAttention(8, 2)])
    >>> net[1].in_proj_weight = net[0].in_proj_weight
    >>> unexchangeable(net)["0"]
    'it shares its in_proj_weight with 1.in_proj_weight'
    """
    reasons = {}
    paths = _paths(model)
    for name, module in model.named_modules():
        substitute = _substitute(module)
        if substitute is None and not _reads_weights(module):
            continue
        shared = None if substitute is _with_separate_bias else _shared(module, model, paths)
        if any(map(_is_special, module.modules())):
            reasons[name] = "it has hooks or parametrizations"
        elif substitute is None:
            reasons[name] = "it has its own forward or further tensors"
        elif shared is not None:
            reasons[name] = shared
    return reasons


def exchange(model: nn.Module, names: Container[str]) -> nn.Module:
    """Exchange the attention modules whose names are in `names`, in place. The outputs of the network stay equal.

    There is one exception: an `nn.TransformerEncoder` with a padding mask no longer returns zeros at masked positions
    when gradients are off. With gradients, and in training, it never does.

    Returns:
        The model or, if the model itself is an attention module, its replacement.
    """
    for name, module in exchangeable(model).items():
        if name in names:
            substitute = _substitute(module)
            assert substitute is not None
            model = swap(model, places(model, {name: substitute(module)}))
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoder) and _has_substitutes(module):
            module.use_nested_tensor = False  # the kernels for nested tensors read the weights
    return model


def exchanged(model: nn.Module) -> list[str]:
    """Return all names of the modules in a network that `exchange` may have inserted."""
    return [
        name
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, MultiheadAttention | WindowAttention)
        or getattr(module, "qkv_bias_separate", False) is True
    ]


def exchanged_tensors(tensors: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """Rename the tensors of a `state_dict` as if the attention modules with these names had been exchanged.

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
    """Return the function that builds the replacement of an attention module; None if the module needs none."""
    if MultiheadAttention.recognises(module):
        return MultiheadAttention.like
    if WindowAttention.recognises(module):
        return WindowAttention.like
    if getattr(module, "qkv_bias_separate", None) is False and isinstance(getattr(module, "qkv", None), nn.Module):
        return None if checks.has_own_forward(module, type(module)) else _with_separate_bias
    return None


def _reads_weights(module: nn.Module) -> bool:
    """Return whether a module is an attention module of torch or torchvision, or of a class derived from torch's."""
    return isinstance(module, nn.MultiheadAttention) or type(module).__name__.startswith("ShiftedWindowAttention")


def _paths(model: nn.Module) -> dict[int, list[str]]:
    """Return all names of each parameter and buffer, by its `id`."""
    paths: dict[int, list[str]] = {}
    named = (model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False))
    for name, tensor in itertools.chain(*named):
        paths.setdefault(id(tensor), []).append(name)
    return paths


def _shared(module: nn.Module, model: nn.Module, paths: Mapping[int, Sequence[str]]) -> str | None:
    """Return which tensor of a module has a second owner, from which a replacement would separate it.

    A module in several places is one owner, since its replacement takes all of its places.
    """
    prefixes = [join(name, "") for name, other in model.named_modules(remove_duplicate=False) if other is module]
    for name, tensor in itertools.chain(module.named_parameters(), module.named_buffers()):
        if len(paths[id(tensor)]) > len(prefixes):
            own = {prefix + name for prefix in prefixes}
            return f"it shares its {name} with {next(path for path in paths[id(tensor)] if path not in own)}"
    return None


def _with_separate_bias(module: Any) -> nn.Module:
    """Change, in place, an attention module of timm that adds the bias of its fused `qkv` layer itself.

    With the flag `qkv_bias_separate` it calls the layer.
    """
    module.qkv_bias_separate = True
    attention: nn.Module = module
    return attention


def _is_special(module: nn.Module) -> bool:
    """Return whether a module has hooks or parametrizations, which an exchange would lose."""
    return parametrize.is_parametrized(module) or checks.has_hooks(module)


def _has_substitutes(module: nn.Module) -> bool:
    return any(isinstance(m, MultiheadAttention) for m in module.modules())
