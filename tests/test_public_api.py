"""The public interface does not change unannounced."""

import json
from types import ModuleType

import tensortrain
import tensortrain.nn
import zoo
from tests.support.documents import ROOT
from tests.support.public_api import LISTING, PAGES, public_api, public_names


def test_the_public_interface_is_the_one_that_is_committed() -> None:
    """If a change is meant, say so in CHANGELOG.md and run `python -m tests.support.public_api`."""
    now, committed = public_api(), json.loads(LISTING.read_text())
    assert {name: committed.get(name) for name in now if committed.get(name) != now[name]} == {}
    assert [name for name in committed if name not in now] == []


def test_the_reference_has_every_public_name() -> None:
    """Modules among them have a section of their own, and the reference lists the names in it."""
    for page, packages in zip(PAGES, ((tensortrain, tensortrain.nn), (zoo,)), strict=True):
        listed = list(public_names((ROOT / page).read_text()))
        values = {
            f"{package.__name__}.{name}": getattr(package, name) for package in packages for name in package.__all__
        }
        names = {value.__name__ if isinstance(value, ModuleType) else name for name, value in values.items()}
        names -= {"tensortrain.__version__", "zoo.__version__"}
        assert [name for name in names if not any(one == name or one.startswith(name + ".") for one in listed)] == []


def test_names_of_a_page() -> None:
    page = """
.. currentmodule:: a.b

.. autosummary::
   :toctree: api

   first
   Second

Text
----

.. currentmodule:: c
.. autosummary::

   third
"""
    assert list(public_names(page)) == ["a.b.first", "a.b.Second", "c.third"]
