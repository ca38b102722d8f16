"""A campaign over certificates: whatever is changed in one, the checker accepts only what is true.

    python -m tests.campaigns.certificates --count 10000 --seed 0

It certifies small networks and chains, changes something in the certificate or in a file that it is about, and asks the
checker. A certificate that is accepted must be true, as `tests.support.certificates` decides by fractions; a changed
file must be refused. Prints how many mutants of each kind were tried and accepted, and fails at the first wrong answer.
"""

import argparse
import contextlib
import copy
import io
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tensortrain import ConvTensorTrain
from tensortrain.cli import main as command
from tests.support.certificates import accepted, truth

NUMBERS = ("inf", "-inf", "nan", "0x1p+9999", "-0x1.0000000000000p+0", "0x0.0p+0", "1.5", "", "0x1.8p-1 ")
VALUES = (None, True, False, 0, 1, -1, 2, 0.5, 10**30, "", "x", [], {}, "not certified", float("nan"), float("inf"))

Mutate = Callable[[Any, random.Random], None]


# ---- what is certified ----------------------------------------------------------------------------------------


def network(folder: Path) -> Path:
    """The certificate of a network: spatial cores, groups, a transposed conv."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    tensors = {"body.weight": normal(3, 2, 3, 3), "grouped.weight": normal(4, 2, 3, 2), "up.weight": normal(3, 3, 4)}
    save_file(tensors, folder / "weights.safetensors")
    layers = ["--kernel-sizes", "body=2,2", "--kernel-sizes", "grouped=separable", "--kernel-sizes", "up=2,3"]
    options = ["--groups", "grouped=2", "--transposed", "up", "--ranks", "grouped=2", "--ranks", "*=1"]
    small, certificate = folder / "small.safetensors", folder / "network.json"
    run("decompose", folder / "weights.safetensors", "-o", small, *layers, *options)
    run("verify", small, "--against", folder / "weights.safetensors", "--certificate", certificate)
    return certificate


def run(*arguments: object) -> None:
    """The command `tensortrain`, which must succeed."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            command([str(argument) for argument in arguments])
        except SystemExit as end:
            if end.code:
                raise


def evaluation(folder: Path, transposed: bool) -> Path:
    """The certificate of a chain with an evaluation."""
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(2, 3, 2, 3, generator=generator)
    chain = ConvTensorTrain.decompose(weight, "separable", ranks=2, transposed=transposed)
    image = torch.randn(1, chain.in_channels, 3, 4, generator=generator)
    certificate = folder / f"chain{int(transposed)}.json"
    chain.certificate(weight, image).save(certificate)
    return certificate


# ---- mutants ----------------------------------------------------------------------------------------------------


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every list or table in a document with every key or index into it."""
    for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
        yield node, key
        yield from places(node[key])


def place(document: Any, rng: random.Random, kind: type | tuple[type, ...] = object) -> tuple[Any, Any]:
    """One of them whose value is of a kind, all equally likely."""
    return rng.choice([(node, key) for node, key in places(document) if isinstance(node[key], kind)])


def claim(document: Any, rng: random.Random) -> tuple[Any, Any]:
    """The place of a number in a claim."""
    layer = rng.choice(document["layers"])
    spots: list[tuple[Any, Any]] = [(layer["error"], 0), (layer["error"], 1)]
    if isinstance(layer["bound"], dict):
        spots.append((layer["bound"], "at_least"))
    if isinstance(layer["evaluation"], dict):
        spots += [(layer["evaluation"]["error"], 0), (layer["evaluation"]["error"], 1)]
    return rng.choice(spots)


def nudged(document: Any, rng: random.Random) -> None:
    """A claimed number a little or much larger or smaller."""
    node, key = claim(document, rng)
    value = float.fromhex(node[key])
    node[key] = (value * (1 + rng.choice((-1, 1)) * 10.0 ** rng.uniform(-17, 0))).hex()


def odd_number(document: Any, rng: random.Random) -> None:
    """In place of a claimed number one that is none."""
    node, key = claim(document, rng)
    node[key] = rng.choice(NUMBERS)


def reversed_interval(document: Any, rng: random.Random) -> None:
    """An interval whose ends have changed places."""
    layer = rng.choice(document["layers"])
    claims = [layer["error"]] + ([layer["evaluation"]["error"]] if isinstance(layer["evaluation"], dict) else [])
    rng.choice(claims).reverse()


def other_value(document: Any, rng: random.Random) -> None:
    """Any value in place of another."""
    node, key = place(document, rng)
    node[key] = copy.deepcopy(rng.choice(VALUES))


def other_integer(document: Any, rng: random.Random) -> None:
    """Another number of groups, bond, axis."""
    layer = rng.choice(document["layers"])
    node, key = place([layer["groups"], layer["bound"]], rng, int)
    node[key] += rng.choice((-3, -2, -1, 1, 2, 3))


def vector(document: Any, rng: random.Random) -> None:
    """A vector of a proof with another digit, sign or length, or in another place."""
    bounds = [layer["bound"] for layer in document["layers"] if isinstance(layer["bound"], dict)]
    lines = rng.choice(rng.choice(bounds)["vectors"])
    at = rng.randrange(len(lines))
    entries = lines[at].split()
    spot = rng.randrange(len(entries))
    entries[spot] = rng.choice((str(-int(entries[spot])), str(rng.randrange(-(2**41), 2**41)), "", "0", "9" * 30))
    lines[at] = " ".join(entries)
    if rng.random() < 0.3:
        rng.shuffle(lines)


def forged(document: Any, rng: random.Random) -> None:
    """A larger lower bound with vectors that are no basis: too short or long, one of them twice, of another cut."""
    bounds = [layer["bound"] for layer in document["layers"] if isinstance(layer["bound"], dict)]
    bound = rng.choice(bounds)
    bound["at_least"] = (float.fromhex(bound["at_least"]) * rng.choice((1.0001, 1.1, 1.5, 2))).hex()
    factor = rng.choice((0, 0.1, 0.9, 0.999, 1, 1, 1.1))
    for lines in bound["vectors"]:
        lines[:] = [" ".join(str(int(int(entry) * factor)) for entry in line.split()) for line in lines]
        if rng.random() < 0.3:
            lines[rng.randrange(len(lines))] = rng.choice(lines)
    if rng.random() < 0.3:
        bound["bond"] = rng.choice((-2, -1, 0, 1, 2))
    if rng.random() < 0.3:
        bound["axes"] = [rng.choice((0, 1, 2, 3, 4)) for _ in bound["axes"]]


def missing(document: Any, rng: random.Random) -> None:
    """A key or an item less."""
    node, key = place(document, rng)
    del node[key]


def unknown(document: Any, rng: random.Random) -> None:
    """A key more."""
    tables = [document, *(node[key] for node, key in places(document) if isinstance(node[key], dict))]
    rng.choice(tables)[rng.choice(("note", "Error", "bound ", "layers2"))] = rng.choice(VALUES[:-2])


def exchanged(document: Any, rng: random.Random) -> None:
    """Two values of the same kind in each other's place."""
    node, key = place(document, rng)
    other, spot = place(document, rng, type(node[key]))
    node[key], other[spot] = copy.deepcopy(other[spot]), copy.deepcopy(node[key])


def repeated_item(document: Any, rng: random.Random) -> None:
    """An item of a list twice."""
    node, key = place(document, rng, list)
    if node[key]:
        node[key].insert(rng.randrange(len(node[key])), copy.deepcopy(rng.choice(node[key])))


DOCUMENT: tuple[Mutate, ...] = (
    *(nudged, nudged, nudged, odd_number, reversed_interval, other_value, other_integer, vector, vector),
    *(forged, forged, missing, unknown, exchanged, repeated_item),
)


def repeated_key(text: str, rng: random.Random) -> str:
    """A line with a key twice."""
    lines = text.splitlines()
    at = rng.choice([i for i, line in enumerate(lines) if line.rstrip().endswith('",') and '": ' in line])
    return "\n".join([*lines[:at], lines[at], *lines[at:]])


def other_character(text: str, rng: random.Random) -> str:
    """One character more, less or another."""
    at = rng.randrange(len(text))
    return text[:at] + rng.choice(("", chr(rng.randrange(32, 127)))) + text[at + rng.randrange(2) :]


def damaged(content: bytes, rng: random.Random) -> bytes:
    """A file with one bit changed, or longer, or shorter."""
    at = rng.randrange(len(content))
    flipped = content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
    return rng.choice((flipped, flipped, flipped, content[:at], content + b"\0"))


# ---- the campaign ---------------------------------------------------------------------------------------------------


def attempt(certificate: Path, seed: int) -> tuple[str, bool, str | None]:
    """Try the mutant of this number: its kind, whether it was accepted, and what was wrong about the answer."""
    rng = random.Random(seed)
    text = certificate.read_text()
    draw = rng.random()
    if draw < 0.15:
        name = rng.choice([name for name, _ in json.loads(text)["files"]])
        file = certificate.with_name(name)
        original = file.read_bytes()
        file.write_bytes(damaged(original, rng))
        passed = accepted(certificate) is not None
        file.write_bytes(original)
        return "a damaged file", passed, "a damaged file was accepted" if passed else None
    mutant = certificate.with_name("mutant.json")
    if draw < 0.3:
        change = rng.choice((repeated_key, other_character))
        kind, changed = change.__name__, change(text, rng)
    else:
        document = json.loads(text)
        mutate = rng.choice(DOCUMENT)
        mutate(document, rng)
        kind = mutate.__name__
        while rng.random() < 0.3:
            with contextlib.suppress(Exception):  # nothing may be left to change in this way
                rng.choice(DOCUMENT)(document, rng)
        changed = json.dumps(document, indent=1)
    mutant.write_text(changed)
    passed = accepted(mutant) is not None
    return kind, passed, f"accepted, and not true:\n{changed}" if passed and not is_true(mutant) else None


def is_true(certificate: Path) -> bool:
    """Whether a certificate is true; one that cannot even be evaluated is not."""
    try:
        return truth(certificate)
    except Exception:
        return False


def campaign(folder: Path, seeds: range) -> tuple[Counter[str], Counter[str], list[str]]:
    """Mutants tried and accepted, by kind, and what was wrong."""
    certificates = [network(folder), evaluation(folder, False), evaluation(folder, True)]
    for certificate in certificates:
        assert accepted(certificate) is not None
        assert truth(certificate)
    tried: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    faults = []
    for seed in seeds:
        kind, was_accepted, fault = attempt(certificates[seed % len(certificates)], seed)
        tried[kind] += 1
        passed[kind] += was_accepted
        if fault is not None:
            faults.append(f"mutant {seed}: {fault}")
    return tried, passed, faults


def main() -> None:
    """Run the campaign and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="how many mutants")
    parser.add_argument("--seed", type=int, default=0, help="number of the first")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        tried, passed, faults = campaign(Path(folder), range(arguments.seed, arguments.seed + arguments.count))
    print("| mutant | tried | accepted, all of them true |")
    print("|---|---|---|")
    for kind, count in sorted(tried.items()):
        print(f"| {kind.replace('_', ' ')} | {count} | {passed[kind]} |")
    print(f"| **all** | {sum(tried.values())} | {sum(passed.values())} |")
    if faults:
        sys.exit("\n".join(faults[:3]))


if __name__ == "__main__":
    main()
