"""Certificates for decomposed networks: claims about each layer, and digests of the files with the tensors."""

import shlex
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from tensortrain import storage
from tensortrain.compression.layers.exchange import exchanged_tensors
from tensortrain.compression.state_dicts.names import plain_names
from tensortrain.compression.state_dicts.records import LayerRecord, read_changes, read_network
from tensortrain.compression.state_dicts.shards import files_of
from tensortrain.conv.certify.certificate import write_certificate
from tensortrain.conv.certify.claims import Claims
from tensortrain.errors import TensorTrainError


def certify_network(
    small: Path, against: Path, certificate: Path, layers: Sequence[str] = ()
) -> list[tuple[LayerRecord, Claims]]:
    """Certify the layers of a decomposed network and write the certificate.

    Args:
        small: file of the decomposed network.
        against: the original checkpoint, in one safetensors file.
        certificate: path of the certificate, which names the files without their folders.
        layers: patterns on the names of layers; all layers by default.

    Returns:
        The records of the layers, with the claims about each.

    Raises:
        TensorTrainError: a file cannot be read, the files do not fit each other, or a pattern matches no layer. If the
            checkpoint has another format, the message contains the command that converts it.
    """
    check_original(against, certificate)
    plain = plain_names(storage.names(against))
    names, original = {bare: name for name, bare in plain.items()}, storage.read(against)[0]
    (tensors, records), exchanged = read_network(small), read_changes(small).exchanged
    stored = {plain: name for name, plain in plain_names(storage.names(small)).items()}
    results, entries = [], []
    for record in _selected(records, layers):
        if record.weight not in names:
            if record.weight in exchanged_tensors({name: original[plain] for name, plain in names.items()}, exchanged):
                raise TensorTrainError(f"{record.weight} is a part of a tensor in {against}; exclude it with --layers")
            remedy = _remedy(against, certificate, "--fold")
            raise TensorTrainError(f"{against} has {record.weight} in several parts; {remedy}")
        record.chain(tensors)  # raises an error if the tensors do not fit the header
        cores = [tensors[key] for key in record.core_keys]
        claims = Claims.of(original[names[record.weight]], cores, record.core_groups, record.transposed)
        results.append((record, claims))
        entries.append(claims.entry(names[record.weight], [stored[key] for key in record.core_keys]))
    write_certificate(certificate, [small, against], entries)
    return results


def check_original(against: Path, certificate: Path) -> None:
    """Check that the program which checks certificates can read a checkpoint.

    Raises:
        TensorTrainError: it is a torch file, or consists of several files; the message contains the command that
            converts it.
    """
    if len(files_of(against)) > 1 or not storage.is_safetensors(against):
        remedy = _remedy(against, certificate)
        raise TensorTrainError(f"a certificate needs the checkpoint as one safetensors file; {remedy}")


def _remedy(against: Path, certificate: Path, *options: str) -> str:
    """Return the command that writes a checkpoint as one safetensors file, beside the certificate."""
    output = certificate.with_name(f"{against.stem}-plain.safetensors")
    command = ["tensortrain", "convert", str(against), "-o", str(output), *options]
    return f"convert {against} with: {shlex.join(command)}"


def _selected(records: Sequence[LayerRecord], patterns: Sequence[str]) -> list[LayerRecord]:
    """Return the layers that match any pattern, or all layers if there are no patterns."""
    for pattern in patterns:
        if not any(_matches(record, pattern) for record in records):
            names = ", ".join(record.name or record.weight for record in records)
            raise TensorTrainError(f"layers = {pattern!r} matches no decomposed layer; there are: {names}")
    return [record for record in records if not patterns or any(_matches(record, pattern) for pattern in patterns)]


def _matches(record: LayerRecord, pattern: str) -> bool:
    return fnmatchcase(record.name, pattern) or fnmatchcase(record.weight, pattern)
