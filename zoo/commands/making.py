"""Commands that make things: models, data, train, export."""

from collections.abc import Sequence
from typing import Literal

from jsonargparse import ArgumentParser, Namespace

import zoo
from zoo.commands.trained import ROOT_HELP, find_subject, show
from zoo.errors import ZooError
from zoo.registry import find_model


def models_arguments(parser: ArgumentParser, given: Sequence[str]) -> None:
    """None."""


def models(chosen: Namespace) -> None:
    """List the models, their published sizes and the weights that ship with them."""
    from rich.table import Table

    from zoo.pretrained import pretrained_names

    table = Table("model", "parameters", "paper", "what it is", "weights")
    for name in zoo.model_names():
        entry = find_model(name)
        size = "" if entry.parameters is None else f"{entry.parameters:,}"
        table.add_row(name, size, entry.citation, entry.summary, "\n".join(pretrained_names(name)))
    show(table)


def data_arguments(parser: ArgumentParser, given: Sequence[str]) -> None:
    """Which data set, and where."""
    parser.add_argument("name", type=Literal["mnist", "kth"], help="Data set to prepare.")
    parser.add_argument("--download", action="store_true", help="Fetch what is missing; an interrupted one goes on.")
    parser.add_argument("--mirror", type=str | None, help="Address of a folder with the original files.")
    parser.add_argument("--source", type=str | None, help="Folder with KTH's files; else kth in the data root.")
    parser.add_argument("--size", type=int, default=128, help="Side of KTH's frames, in pixels.")
    parser.add_argument("--check", action="store_true", help="Only list what is wrong with KTH's original files.")
    parser.add_argument("--data-root", "--root", type=str | None, help=ROOT_HELP)


def data(chosen: Namespace) -> None:
    """Prepare a data set, downloading it if asked to, and say what there is."""
    if chosen.mirror and not chosen.download:
        raise ZooError("--mirror says where to download from; add --download, or leave it out")
    if chosen.name != "kth" and (chosen.source or chosen.check):
        raise ZooError("--source and --check are options of kth; leave them out")
    {"mnist": _mnist, "kth": _kth}[chosen.name](chosen)


def _mnist(chosen: Namespace) -> None:
    from zoo.data import MovingMNIST, download_mnist

    if chosen.download:
        download_mnist(chosen.data_root, mirror=chosen.mirror)
    for split in ("train", "val", "test"):
        print(MovingMNIST(split, root=chosen.data_root).describe())


def _kth(chosen: Namespace) -> None:
    from zoo.data import check_kth, download_kth, prepare_kth
    from zoo.data.kth import report

    if chosen.download:
        download_kth(chosen.data_root, mirror=chosen.mirror)
    if chosen.check:
        print("\n".join(check_kth(chosen.data_root, chosen.source)) or "nothing is wrong")
        return
    store = prepare_kth(chosen.data_root, chosen.source, size=chosen.size)
    print("\n".join(report(store)))


def export_arguments(parser: ArgumentParser, given: Sequence[str]) -> None:
    """Which run, and the file to write."""
    parser.add_argument("run", type=str, help="Folder of a run.")
    parser.add_argument("--output", "-o", type=str, required=True, help="Safetensors file.")
    parser.add_argument("--checkpoint", default="best", help="Best, last, step-N, or a path.")


def export(chosen: Namespace) -> None:
    """Write a run's weights and recipe as one safetensors file."""
    from zoo.pretrained import save_weights

    subject = find_subject(chosen.run, chosen.checkpoint)
    save_weights(chosen.output, subject.model, subject.recipe)
    print(chosen.output)
