"""`zoo models`: list the models."""

from collections.abc import Sequence

from jsonargparse import ArgumentParser, Namespace

import zoo
from tensortrain.tables import Column, Table, show
from zoo.registry import Entry, find_model


def add_arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """Add nothing: there are no options."""


def run(arguments: Namespace) -> None:
    """List the models with their numbers of parameters, and the weights that ship with the package."""
    from zoo.model_files.pretrained import pretrained_names

    rows = []
    for name in zoo.list_models():
        entry = find_model(name)
        count = _count(entry)
        size = "" if count is None else f"{count:,}"
        series = " Reads series." if entry.reads == "series" else ""
        rows.append([name, size, "\n".join(pretrained_names(name)), f"{entry.summary} {entry.citation}.{series}"])
    columns = (Column("model", words=True), Column("parameters"), Column("weights", words=True))
    notes = ("Weights that ship with the package are named MODEL:WEIGHTS, such as conv-lstm:kth-small.",)
    show(Table((*columns, Column("what it is", words=True, wraps=True)), rows, notes=notes))


def _count(entry: Entry) -> int | None:
    """The model's number of parameters with default options, or None if it cannot be built to count them."""
    if entry.parameters is not None:
        return entry.parameters  # known without importing torch
    from zoo.model_files.building import count_parameters

    return count_parameters(entry)
