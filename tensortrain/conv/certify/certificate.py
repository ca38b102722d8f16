"""Certificates are files with claims about other files, which they identify by digests."""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from tensortrain import checks, storage
from tensortrain.conv.certify.claims import NONE, Claims
from tensortrain.conv.certify.evaluations import Evaluation, certify_evaluation
from tensortrain.conv.certify.intervals import Interval
from tensortrain.conv.checks import check_inputs
from tensortrain.errors import TensorTrainError
from tensortrain.files import aside, destinations

FORMAT = "tensortrain-certificate/1"
ENDING = ".json"


class Chain(Protocol):
    """The parts of a `ConvTensorTrain` that a certificate needs."""

    @property
    def cores(self) -> tuple[Tensor, ...]:
        """Return the cores as they are stored."""

    @property
    def groups(self) -> tuple[int, ...]:
        """Return the number of groups of each core."""

    @property
    def transposed(self) -> bool:
        """Return whether the cores are weights of transposed convolutions."""

    @property
    def ranks(self) -> tuple[int, ...]:
        """Return the ranks `(R_0, …, R_m)`."""

    def as_conv(self) -> "Chain":
        """Return the chain of the equivalent ordinary convolution."""

    def save(self, path: str | PathLike[str]) -> None:
        """Write the cores as `cores.0`, `cores.1`, … to a safetensors file."""


@dataclass(frozen=True, repr=False)
class Certificate:
    """Certified statements about a chain; `save` writes all files that are needed to check them.

    `tensortrain.conv.certify.claims` lists the claims and their assumptions.

    Attributes:
        chain: the chain.
        weight: the kernel that was decomposed.
        claims: the claims about both.
        evaluation: an evaluation of the chain on an input with its certified error, or None.

    >>> from tensortrain import ConvTensorTrain
    >>> weight = torch.randn(8, 6, 3, 3, generator=torch.Generator().manual_seed(0))
    >>> chain = ConvTensorTrain.decompose(weight, "separable", ranks=4)
    >>> certificate = chain.certificate(weight)
    >>> low, high = certificate.error
    >>> low <= chain.error <= high, high - low < 1e-13
    (True, True)
    >>> 0 < chain.error - certificate.lower_bound < 1e-9   # nearly the best of all chains of these sizes and ranks
    True
    """

    chain: Chain
    weight: Tensor
    claims: Claims
    evaluation: Evaluation | None

    @classmethod
    def of(cls, chain: Chain, weight: Tensor, inputs: Tensor | None) -> "Certificate":
        """Certify a chain; the arguments are described in `ConvTensorTrain.certificate`."""
        evaluation = None
        if inputs is not None:
            inputs = checks.entries("inputs", inputs).detach()
            check_inputs([None] * (len(chain.cores) - 1) + [inputs], chain.ranks[1:], chain.cores[0])
            evaluation = certify_evaluation([core.detach() for core in chain.as_conv().cores], inputs)
        return cls(chain, weight, Claims.of(weight, chain.cores, chain.groups, chain.transposed), evaluation)

    @property
    def error(self) -> Interval:
        """Return an interval that contains the relative Frobenius distance of the chain's kernel from the weight."""
        return self.claims.error

    @property
    def lower_bound(self) -> float | None:
        """Return a distance that no chain with these sizes and ranks can fall below; None if it is not certified."""
        return None if self.claims.lower_bound is None else self.claims.lower_bound.value

    def __repr__(self) -> str:
        low, high = self.error
        bound = (
            NONE if self.lower_bound is None else f"no chain of these sizes and ranks is below {self.lower_bound:.6g}"
        )
        lines = [
            f"Certificate of a chain with ranks {self.chain.ranks}",
            f"  error       from {low:.6g} to {high:.6g}, an interval {high - low:.1e} wide",
            f"  lower bound {bound}",
        ]
        if self.evaluation is not None:
            low, high = self.evaluation.error
            lines.append(f"  evaluation  relative distance from {low:.3g} to {high:.3g} from the exact result")
        return "\n".join(lines)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the certificate and, beside it, the files that it certifies.

        For `path` = `layer.json` these files are `layer.chain.safetensors`, which `ConvTensorTrain.load` reads,
        `layer.weight.safetensors` and, if there is an evaluation, `layer.evaluation.safetensors`. No other ending than
        `.json` is removed from the name, so that the certificates `layer1.0` and `layer1.1` have files of their own.

        Args:
            path: the certificate, a JSON file.

        Raises:
            TensorTrainError: one of the files cannot be written. If that is known in advance, none is written.

        >>> import tempfile, torch
        >>> from tensortrain import ConvTensorTrain
        >>> weight = torch.randn(4, 4, 3, generator=torch.Generator().manual_seed(0))
        >>> certificate = ConvTensorTrain.decompose(weight, "tucker2", ranks=2).certificate(weight)
        >>> folder = Path(tempfile.mkdtemp())
        >>> certificate.save(folder / "layer.json")
        >>> sorted(path.name for path in folder.iterdir())
        ['layer.chain.safetensors', 'layer.json', 'layer.weight.safetensors']
        """
        destinations([path])
        target = Path(path)
        stem = target.name[: -len(ENDING)] if target.name.lower().endswith(ENDING) else target.name
        parts = ("chain", "weight") if self.evaluation is None else ("chain", "weight", "evaluation")
        files = [target.with_name(f"{stem}.{part}.safetensors") for part in parts]
        destinations([target, *files])
        self.chain.save(files[0])
        storage.write_plain(files[1], {"weight": self.weight})
        if self.evaluation is not None:
            storage.write_plain(files[2], {"input": self.evaluation.inputs, "output": self.evaluation.output})
        entry = self.claims.entry("weight", [f"cores.{l}" for l in range(len(self.chain.cores))], self.evaluation)
        write_certificate(target, files, [entry])


def write_certificate(path: Path, files: Sequence[Path], entries: Sequence[Mapping[str, Any]]) -> None:
    """Write a certificate.

    Args:
        path: the certificate to write.
        files: the certified files: cores, weights and, if any, inputs and outputs.
        entries: the claims about each layer.

    Raises:
        TensorTrainError: the path cannot be written, or a file cannot be read.
    """
    versions = f"tensortrain {metadata.version('tensortrain')}, torch {torch.__version__}"
    document = {
        "format": FORMAT,
        "written_by": f"{versions}, Python {platform.python_version()}",
        "files": [[file.name, digest(file)] for file in files],
        "layers": list(entries),
    }
    with aside(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1, allow_nan=False))


def digest(path: Path) -> str:
    """Return the SHA-256 digest of a file, in hexadecimal.

    Raises:
        TensorTrainError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise TensorTrainError(f"cannot read {path}: {error.strerror}") from None
