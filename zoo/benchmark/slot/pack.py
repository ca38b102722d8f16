"""Collect the files for a machine with a GPU: this checkout, MNIST, and wheels that the machine lacks.

    python -m zoo.benchmark.slot.pack --data DATA [--wheels DIR]

This copies MNIST's four files and the wheels into the folder `slot/` of the checkout, which git ignores. It also checks
that all files together are small enough.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from zoo.benchmark.slot.testing import ROOT
from zoo.errors import ZooError

MOST_MB = 60.0
FOLDER = "slot"
WHEELS = ("pydantic", "pydantic_core", "annotated_types", "typing_inspection")  # packages that a bare machine may lack
MNIST = tuple(
    f"{split}-{kind}.gz" for split in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
)


def pack(root: Path, data: Path, wheels: Path | None) -> str:
    """Copy the files, and describe their sizes.

    Args:
        root: the folder of the checkout.
        data: the data root, with MNIST's four files in `mnist/`.
        wheels: the folder of wheels; None if none are needed.

    Returns:
        A line with the sizes, and with the wheels that are missing.

    Raises:
        ZooError: if a file is missing or cannot be copied, `root` is not a checkout, or the files are too large.
    """
    folder = root / FOLDER
    for source in filter(None, (data, wheels)):
        if source.resolve().is_relative_to(folder.resolve()):
            raise ZooError(f"{source} is inside {folder}, which is emptied first; keep the originals elsewhere")
    copies = [(data / "mnist" / name, folder / "data" / "mnist" / name) for name in MNIST]
    if wheels is not None:
        copies += [(wheel, folder / "wheels" / wheel.name) for wheel in sorted(wheels.glob("*.whl"))]
    try:
        if folder.exists():
            shutil.rmtree(folder)
        for source, target in copies:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    except OSError as error:
        raise ZooError(
            f"{error.filename} cannot be copied or replaced ({error.strerror}); check that it exists"
        ) from error
    sizes = {path: path.stat().st_size / 1e6 for path in [*tracked(root), *(target for _, target in copies)]}
    total = sum(sizes.values())
    if total > MOST_MB:
        largest = sorted(sizes, key=lambda path: -sizes[path])[:3]
        listed = ", ".join(f"{path.relative_to(root)} ({sizes[path]:.1f} MB)" for path in largest)
        raise ZooError(
            f"the files have {total:.1f} MB, but at most {MOST_MB:.0f} MB are allowed; the largest are {listed}"
        )
    copied = sum(sizes[target] for _, target in copies)
    line = f"{total:.1f} of {MOST_MB:.0f} MB: {total - copied:.1f} of the checkout, {copied:.1f} in {folder}"
    names = {target.name.partition("-")[0].lower() for _, target in copies}
    absent = [name for name in WHEELS if name not in names]
    return line + (f"; no wheel of {', '.join(absent)}: the machine must have them" if absent else "")


def tracked(root: Path) -> list[Path]:
    """The files of a checkout that git tracks, or does not ignore.

    Raises:
        ZooError: if `root` is not a checkout.
    """
    words = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, capture_output=True, check=False)
    if listed.returncode:
        raise ZooError(f"{root} is not a checkout: {listed.stderr.decode(errors='replace').strip()}")
    paths = [root / name for name in listed.stdout.decode(errors="surrogateescape").split("\0") if name]
    return [path for path in paths if path.is_file()]


def main(words: Sequence[str] | None = None) -> None:
    """Collect the files that the command line names.

    Ends with `SystemExit` if the command failed."""
    parser = argparse.ArgumentParser(
        prog="python -m zoo.benchmark.slot.pack", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="data root with mnist/")
    parser.add_argument("--wheels", type=Path, help="folder of wheels")
    arguments = parser.parse_args(words)
    try:
        print(pack(ROOT, arguments.data, arguments.wheels))
    except ZooError as error:
        print(f"pack: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
