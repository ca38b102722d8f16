"""`zoo data`: download and prepare a data set."""

from collections.abc import Sequence
from typing import Literal

from jsonargparse import ArgumentParser, Namespace

from zoo.commands.options import ROOT_HELP
from zoo.errors import ZooError, nearest

NAMES = ("mnist", "kth", "videos:DIR")


def add_arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """Which data set, and where."""
    parser.add_argument("name", type=str, help=f"Data set to prepare: {', '.join(NAMES)}.")
    parser.add_argument(
        "--download", action="store_true", help="Fetch what is missing; an interrupted download is resumed."
    )
    parser.add_argument("--mirror", type=str | None, help="Address of a folder with the original files.")
    parser.add_argument("--source", type=str | None, help="Folder with KTH's files; default: kth in the data root.")
    parser.add_argument(
        "--size", type=int | None, help="Height and width of frames, in pixels; default: 128 for KTH, 64 for videos."
    )
    parser.add_argument("--channels", type=Literal[1, 3], default=1, help="1 for grey videos, 3 for RGB.")
    parser.add_argument("--check", action="store_true", help="Only say what is wrong with KTH's original files.")
    parser.add_argument("--data-root", "--root", type=str | None, help=ROOT_HELP)


def run(arguments: Namespace) -> None:
    """Prepare a data set, download it first if asked to, and print what it holds."""
    kind, _, folder = arguments.name.partition(":")
    if kind not in _PREPARE or bool(folder) != (kind == "videos"):
        raise ZooError(f"no data set {arguments.name!r}; {nearest(arguments.name, NAMES)}")
    if arguments.mirror and not arguments.download:
        raise ZooError("--mirror says where to download from; add --download, or leave it out")
    if kind != "kth" and (arguments.source or arguments.check):
        raise ZooError("--source and --check are options of kth; leave them out")
    if kind == "videos" and arguments.download:
        raise ZooError("--download is an option of mnist and kth; leave it out")
    if kind != "videos" and arguments.channels != 1:
        raise ZooError("--channels is an option of videos, and mnist and kth are grey; leave it out")
    if kind == "mnist" and arguments.size is not None:
        raise ZooError("--size is an option of kth and videos, and MNIST's digits have 28 pixels; leave it out")
    _PREPARE[kind](arguments)


def _mnist(arguments: Namespace) -> None:
    from zoo.data import MovingMNIST, download_mnist

    if arguments.download:
        download_mnist(arguments.data_root, mirror=arguments.mirror)
    for split in ("train", "val", "test"):
        print(MovingMNIST(split, root=arguments.data_root).describe())


def _kth(arguments: Namespace) -> None:
    from zoo.data import check_kth, download_kth, prepare_kth
    from zoo.data.kth import SIZE, report

    if arguments.download:
        download_kth(arguments.data_root, mirror=arguments.mirror)
    if arguments.check:
        print("\n".join(check_kth(arguments.data_root, arguments.source)) or "nothing is wrong")
        return
    store = prepare_kth(arguments.data_root, arguments.source, size=SIZE if arguments.size is None else arguments.size)
    print("\n".join(report(store)))


def _videos(arguments: Namespace) -> None:
    from zoo.data import prepare_videos
    from zoo.data.videos import SIZE, report

    folder, size = arguments.name.partition(":")[2], SIZE if arguments.size is None else arguments.size
    store = prepare_videos(folder, arguments.data_root, size=size, grey=arguments.channels == 1)
    for line in report(store, folder):
        print(line)


_PREPARE = {"mnist": _mnist, "kth": _kth, "videos": _videos}
