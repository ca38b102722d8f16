"""Names in a `state_dict`: join and split them, and remove the prefixes that training programs add."""

from collections.abc import Iterable, Mapping

COMPILED = "_orig_mod."  # torch.compile adds it before all names, or before those of one module
PREFIXES = ("module.", "model.")  # DataParallel adds the first, Lightning and others the second, before all names


def layer_name(weight: str) -> str:
    """Return the name of the module that holds a weight; empty if the model itself holds it.

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
    """Return the prefix that wrappers have added to all names: `_orig_mod.`, `module.` and `model.`, in any order.

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
    """Map each name to the name in the bare model. Names stay unchanged if two of them would become equal.

    >>> plain_names(["model.conv._orig_mod.weight", "model.conv._orig_mod.bias"])
    {'model.conv._orig_mod.weight': 'conv.weight', 'model.conv._orig_mod.bias': 'conv.bias'}
    """
    names = list(names)
    prefix = common_prefix(names)
    plain = {name: name.removeprefix(prefix).replace(COMPILED, "") for name in names}
    return plain if len(set(plain.values())) == len(names) and all(plain.values()) else {name: name for name in names}


def plain_modules(modules: Iterable[str], tensors: Mapping[str, str]) -> dict[str, str]:
    """Map the names of modules to those in the bare model, as `plain_names` has mapped the names of all tensors.

    >>> plain_modules(["model.attention", "model"], plain_names(["model.attention.weight", "model.bias"]))
    {'model.attention': 'attention', 'model': ''}
    """
    if all(name == bare for name, bare in tensors.items()):
        return {name: name for name in modules}
    prefix = common_prefix(tensors)
    return {name: f"{name}.".removeprefix(prefix).replace(COMPILED, "").removesuffix(".") for name in modules}
