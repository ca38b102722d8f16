"""`zoo data`: download and prepare a data set."""

from collections.abc import Sequence
from typing import Literal

from jsonargparse import ArgumentParser, Namespace

from zoo.commands.options import ROOT_HELP
from zoo.errors import ZooError


def add_arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """Which data set, and where."""
    parser.add_argument("name", type=Literal["mnist", "kth"], help="Data set to prepare.")
    parser.add_argument(
        "--download", action="store_true", help="Fetch what is missing; an interrupted download is resumed."
    )
    parser.add_argument("--mirror", type=str | None, help="Address of a folder with the original files.")
    parser.add_argument("--source", type=str | None, help="Folder with KTH's files; default: kth in the data root.")
    parser.add_argument("--size", type=int, default=128, help="Height and width of KTH's frames, in pixels.")
    parser.add_argument("--check", action="store_true", help="Only list what is wrong with KTH's original files.")
    parser.add_argument("--data-root", "--root", type=str | None, help=ROOT_HELP)


def run(arguments: Namespace) -> None:
    """Prepare a data set, download it first if asked to, and print what it holds."""
    if arguments.mirror and not arguments.download:
        raise ZooError("--mirror says where to download from; add --download, or leave it out")
    if arguments.name != "kth" and (arguments.source or arguments.check):
        raise ZooError("--source and --check are options of kth; leave them out")
    {"mnist": _mnist, "kth": _kth}[arguments.name](arguments)


def _mnist(arguments: Namespace) -> None:
    from zoo.data import MovingMNIST, download_mnist

    if arguments.download:
        download_mnist(arguments.data_root, mirror=arguments.mirror)
    for split in ("train", "val", "test"):
        print(MovingMNIST(split, root=arguments.data_root).describe())


def _kth(arguments: Namespace) -> None:
    from zoo.data import check_kth, download_kth, prepare_kth
    from zoo.data.kth import report

    if arguments.download:
        download_kth(arguments.data_root, mirror=arguments.mirror)
    if arguments.check:
        print("\n".join(check_kth(arguments.data_root, arguments.source)) or "nothing is wrong")
        return
    store = prepare_kth(arguments.data_root, arguments.source, size=arguments.size)
    print("\n".join(report(store)))
