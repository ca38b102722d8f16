"""`zoo models`: list the models."""

from collections.abc import Sequence

from jsonargparse import ArgumentParser, Namespace

import zoo
from zoo.commands.output import show
from zoo.registry import find_model


def add_arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """None."""


def run(arguments: Namespace) -> None:
    """List the models, their published sizes and the weights that ship with them."""
    from rich.table import Table

    from zoo.pretrained import pretrained_names

    table = Table("model", "reads", "parameters", "paper", "what it is", "weights")
    for name in zoo.model_names():
        entry = find_model(name)
        size = "" if entry.parameters is None else f"{entry.parameters:,}"
        table.add_row(name, entry.reads, size, entry.citation, entry.summary, "\n".join(pretrained_names(name)))
    show(table)
