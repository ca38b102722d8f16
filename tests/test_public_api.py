"""The public interface does not change unannounced."""

import json

from tests.support.public_api import LISTING, public_api, public_names


def test_the_public_interface_is_the_one_that_is_committed() -> None:
    """If a change is meant, say so in CHANGELOG.md and run `python -m tests.support.public_api`."""
    now, committed = public_api(), json.loads(LISTING.read_text())
    assert {name: committed.get(name) for name in now if committed.get(name) != now[name]} == {}
    assert [name for name in committed if name not in now] == []


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
