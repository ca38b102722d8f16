"""The names that the command line takes. They are checked before torch is imported, which takes seconds, so that a
typing error is reported at once. What the names stand for is defined where they are used."""

from collections.abc import Collection, Sequence
from pathlib import Path

from zoo.errors import ZooError, nearest
from zoo.files import path_of

CONVENTIONS = ("standard", "conv-tt-lstm", "predrnn-pp", "openstl")  # `zoo.evaluation.CONVENTIONS`
LAYOUTS = ("conv-tt-lstm", "predrnn-pp", "openstl")  # `zoo.evaluation.LAYOUTS`
JOBS = ("training", "inference")  # `zoo.benchmark.JOBS`
VARIANTS = [  # `zoo.benchmark.VARIANTS`, to which `zoo.benchmark.register` adds
    "plain",
    "eager",
    "all-together",
    "windows-apart",
    "contiguous",
    "subnormals",
    "fused-adam",
    "unfused-adam",
    "compiled",
    "recomputed",
    "bf16",
    "bf16-compiled",
    "tf32",
    "free-algorithms",
    "graph",
    "tf32-graph",
    "bf16-graph",
    "bf16-free-graph",
    "bf16-compiled-graph",
]
LOGGERS = ("csv", "tensorboard", "wandb", "mlflow")  # where metrics are logged; the first is always used
FOREIGN = ("openstl", "predrnn-pytorch", "conv-tt-lstm", "predrnn-pp")  # other code bases whose checkpoints can be read
PREDICTIONS = (".png", ".gif", ".mp4", ".npz", "")  # suffixes of a `zoo.evaluation.Prediction`; "" means a folder
CURVES = (".png", ".npz")  # suffixes of a `zoo.evaluation.SeriesPrediction`


def check_name(kind: str, name: str, known: Collection[str]) -> None:
    """Raise a ZooError if a name is unknown. The message suggests the closest known name.

    >>> check_name("job", "trainig", JOBS)
    Traceback (most recent call last):
    zoo.errors.ZooError: no job 'trainig'; did you mean 'training'? known: inference, training
    """
    if name not in known:
        raise ZooError(f"no {kind} {name!r}; {nearest(name, known)}")


def check_unique(kind: str, names: Sequence[str]) -> None:
    """Raise a ZooError if two runs or models have one name, so that a table could not say which row is whose.

    Args:
        kind: what the names are of, in the plural, such as "models".
        names: their names.
    """
    for name in names:
        if names.count(name) > 1:
            raise ZooError(f"two {kind} are called {name!r}; name each only once, or rename a folder")


def check_suffix(path: str | Path, legal: Collection[str]) -> None:
    """Raise a ZooError unless the suffix of a file is one of the legal ones, which say what to write."""
    if path_of("path", path).suffix.lower() not in legal:
        verb = "is" if len(legal) == 1 else "are"
        named = ", ".join(suffix or "no suffix for a folder of frames" for suffix in legal)
        raise ZooError(f"{path} has no suffix that says what to write; legal {verb} {named}")


def check_picture(path: str | Path) -> None:
    """Raise a ZooError unless a picture can be written there: the suffix must be `.png`, and the folder must exist."""
    check_suffix(path, (".png",))
    if not Path(path).parent.is_dir():
        raise ZooError(f"{Path(path).parent} is not a folder; name a file in an existing folder")
