"""`tt.functional`: the interface of both families, and nothing else."""

import types

import tensortrain as tt
from tensortrain.conv import functional as conv_functional
from tensortrain.tt import functional as tt_functional


def test_the_interface_is_that_of_both_families() -> None:
    public = {name for name in vars(tt.functional) if not name.startswith("_")}
    assert public == set(tt.functional.__all__)
    for name in tt.functional.__all__:
        family = tt_functional if name.startswith("tt_") else conv_functional
        assert getattr(tt.functional, name) is getattr(family, name)
        assert f"`{name}`" in str(tt.functional.__doc__)


def test_every_tt_function_belongs_to_the_interface() -> None:
    names = {n for n, value in vars(tt_functional).items() if isinstance(value, types.FunctionType)}
    assert {name for name in names if name.startswith("tt_")} <= set(tt.functional.__all__)
