"""`zoo data`: download, prepare and describe a data set."""

from collections.abc import Sequence

from jsonargparse import ArgumentParser, Namespace

from zoo.checks import check_clips, check_lengths
from zoo.commands.options import ROOT_HELP
from zoo.errors import ZooError, nearest
from zoo.settings import StoredData, data_class

NAMES = ("mnist", "kth", "videos:DIR", "images:DIR", "arrays:FILE")
ALIASES = {"moving-mnist": "mnist"}  # data sets by their names in other commands
OWN = ("videos", "images", "arrays")


def add_arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """The data set, and where it is."""
    parser.add_argument(
        "name", type=str, help=f"Data set to prepare: {', '.join(NAMES)}; moving-mnist is another name of mnist."
    )
    parser.add_argument(
        "--download", action="store_true", help="Download missing files first; an interrupted download is resumed."
    )
    parser.add_argument("--mirror", type=str | None, help="Web address of a folder with the original files.")
    parser.add_argument("--source", type=str | None, help="Folder with KTH's files; default: kth in the data root.")
    parser.add_argument(
        "--size",
        type=int | None,
        help="Height and width of frames, in pixels; default: 128 for KTH, 64 for videos and images, and the array's "
        "own size for arrays.",
    )
    parser.add_argument(
        "--channels",
        type=int | None,
        help="Number of channels, such as 1 for grey or 3 for RGB. Short for --data.channels.",
    )
    parser.add_argument("--check", action="store_true", help="Only list the faults of KTH's original files.")
    parser.add_argument("--data-root", "--root", type=str | None, help=ROOT_HELP)
    own = next((word for word in words[1:] if word.partition(":")[0] in OWN and ":" in word), None)
    if words[:1] == ["data"] and own is not None:
        parser.add_class_arguments(data_class(own), "data")
        parser.set_defaults({"data.name": own})
    else:
        parser.epilog = "For the settings of your own clips see: zoo data videos:DIR --help (images:DIR, arrays:FILE)"


def run(arguments: Namespace) -> None:
    """Prepare a data set (with --download, fetch its files first), and describe it."""
    kind, _, folder = arguments.name.partition(":")
    kind = ALIASES.get(kind, kind)
    if arguments.name == "lorenz":
        raise ZooError("the series of lorenz are computed when they are needed; there is nothing to prepare")
    if kind not in _PREPARE or bool(folder) != (kind in OWN):
        raise ZooError(f"no data set {arguments.name!r}; {nearest(arguments.name, NAMES)}")
    if arguments.mirror and not arguments.download:
        raise ZooError("--mirror has no effect without --download; add --download, or leave --mirror out")
    if kind != "kth" and (arguments.source or arguments.check):
        raise ZooError("--source and --check are options of kth; leave them out")
    if kind in OWN and arguments.download:
        raise ZooError("--download is an option of mnist and kth; leave it out")
    if kind not in OWN and arguments.channels is not None:
        raise ZooError("--channels is an option of videos, images and arrays; mnist and kth are grey; leave it out")
    if kind == "mnist" and arguments.size is not None:
        raise ZooError(
            "--size is an option of kth, videos, images and arrays; MNIST's digits have 28×28 pixels; leave it out"
        )
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
        print("\n".join(check_kth(arguments.data_root, arguments.source)) or "no faults")
        return
    store = prepare_kth(arguments.data_root, arguments.source, size=SIZE if arguments.size is None else arguments.size)
    print("\n".join(report(store)))


def _own(arguments: Namespace) -> None:
    if arguments.data.name != arguments.name:
        raise ZooError(f"data.name = {arguments.data.name!r} differs from {arguments.name!r}; leave data.name out")
    short = {name: arguments[name] for name in ("size", "channels") if arguments[name] is not None}
    data = data_class(arguments.name)(**{**dict(arguments.data), **short})
    assert isinstance(data, StoredData)
    check_clips(data)
    if data.observed != type(data).observed:  # the clips do not depend on it, so its default may exceed their length
        check_lengths(data)
    from zoo.data import describe_own

    for line in describe_own(data, arguments.data_root):
        print(line)


_PREPARE = {"mnist": _mnist, "kth": _kth, **dict.fromkeys(OWN, _own)}
