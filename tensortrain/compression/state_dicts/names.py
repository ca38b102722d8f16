"""Names in a `state_dict`: joined, taken apart, and without what training programs put in front of them."""

from collections.abc import Iterable

COMPILED = "_orig_mod."  # by torch.compile, in front of all names or in front of those of one module
PREFIXES = ("module.", "model.")  # by DataParallel and by Lightning and others, in front of all names


def layer_name(weight: str) -> str:
    """The module that a weight belongs to, by their names in a `state_dict`.

    >>> layer_name("conv1.weight"), layer_name("weight"), layer_name("kernel")
    ('conv1', '', 'kernel')
    """
    return "" if weight == "weight" else weight.removesuffix(".weight")


def join(prefix: str, name: str) -> str:
    """Join two parts of a name in a `state_dict`; the first may be empty.

    >>> join("conv1", "bias"), join("", "bias")
    ('conv1.bias', 'bias')
    """
    return f"{prefix}.{name}" if prefix else name


def common_prefix(names: Iterable[str]) -> str:
    """What wrappers have put in front of all names: `_orig_mod.`, `module.` and `model.`, in any order.

    >>> common_prefix(["module._orig_mod.conv.weight", "module._orig_mod.conv.bias"])
    'module._orig_mod.'
    """
    names = list(names)
    prefix = ""
    while names:
        part = next((p for p in (COMPILED, *PREFIXES) if all(name.startswith(p, len(prefix)) for name in names)), None)
        if part is None or any(name == prefix + part for name in names):
            return prefix
        prefix += part
    return prefix


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """For each name the one that the bare model gives it; unchanged if two names would become one.

    >>> plain_names(["model.conv._orig_mod.weight", "model.conv._orig_mod.bias"])
    {'model.conv._orig_mod.weight': 'conv.weight', 'model.conv._orig_mod.bias': 'conv.bias'}
    """
    names = list(names)
    prefix = common_prefix(names)
    plain = {name: name.removeprefix(prefix).replace(COMPILED, "") for name in names}
    return plain if len(set(plain.values())) == len(names) and all(plain.values()) else {name: name for name in names}
