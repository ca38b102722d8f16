"""`tensortrain_check`: what it accepts is true, what it refuses, and that it needs nothing but Python.

The campaign of which a short form runs here is `python -m tests.campaigns.certificates`.
"""

import ast
import dataclasses
import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import tensortrain_check
from tensortrain import ConvTensorTrain
from tensortrain.conv.certify.certificate import write_certificate
from tensortrain.conv.certify.claims import Claims
from tensortrain.conv.certify.lower_bounds import Cut, LowerBound, _basis
from tests.campaigns.certificates import campaign
from tests.support import oracles
from tests.support.certificates import accepted, truth

CHECKER = Path(tensortrain_check.__file__)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A certificate with every kind of claim."""
    folder = tmp_path_factory.mktemp("certificate")
    weight = oracles.floats(0, 4, 3, 3, 3).float()
    chain = ConvTensorTrain.decompose(weight, (2, 2), ranks=2)
    chain.certificate(weight, oracles.floats(1, 1, 3, 4, 5).float()).save(folder / "layer.json")
    return folder / "layer.json"


def changed(certificate, folder, change):
    """The certificate, changed, in another folder with the same files."""
    for name, _ in json.loads(certificate.read_text())["files"]:
        shutil.copy(certificate.with_name(name), folder)
    document = json.loads(certificate.read_text())
    change(document)
    target = folder / certificate.name
    target.write_text(json.dumps(document, indent=1))
    return target


# ---- by itself ----------------------------------------------------------------------------------------------------


def python(*arguments, cwd):
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=300)


def test_it_runs_by_itself_in_an_empty_folder(whole, tmp_path):
    """Isolated from the environment and without site-packages, so without torch and without the library."""
    shutil.copytree(whole.parent, tmp_path, dirs_exist_ok=True)
    shutil.copy(CHECKER, tmp_path / "check_certificate.py")
    done = python("-I", "-S", "check_certificate.py", "layer.json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["(A)", "(B)", "(C)", "(D)"]
    assert "P8 of proofs/README.md" in lines[1]
    assert "(1 + 2^-24)^" in lines[3]
    assert (
        "without underflow, if convolutions sum plain products, on which it says 'as a probe found on cpu" in lines[3]
    )
    assert "cores ['cores.0', 'cores.1'] make a kernel" in lines[0]
    assert "'output'" in lines[2]


def test_it_is_installed_as_a_module_and_takes_files_from_elsewhere(whole, tmp_path):
    shutil.copy(whole, tmp_path)
    files = [whole.with_name(name) for name, _ in json.loads(whole.read_text())["files"]]
    root = CHECKER.parent
    done = python("-m", "tensortrain_check", tmp_path / "layer.json", *files, cwd=root)
    assert (done.returncode, done.stderr) == (0, "")
    done = python("-m", "tensortrain_check", tmp_path / "layer.json", *reversed(files), cwd=root)
    assert (done.returncode, done.stdout) == (1, "")
    done = python("-m", "tensortrain_check", tmp_path / "layer.json", cwd=root)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("refused: FileNotFoundError")


def test_it_is_short_and_imports_nothing_but_the_standard_library():
    source = CHECKER.read_text()
    assert len(source.splitlines()) <= 150
    imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.Import, ast.ImportFrom))]
    plain = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
    assert plain | {node.module for node in imports if isinstance(node, ast.ImportFrom)} <= sys.stdlib_module_names
    assert not {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)} & {"eval", "exec"}


# ---- what it refuses ------------------------------------------------------------------------------------------------


def layer(document):
    return document["layers"][0]


REFUSED = {
    "another format": lambda d: d.update(format="tensortrain-certificate/2"),
    "no layers": lambda d: d.update(layers=[]),
    "an unknown key": lambda d: layer(d).update(note="x"),
    "a missing key": lambda d: layer(d).pop("evaluation"),
    "an unknown key of a bound": lambda d: layer(d)["bound"].update(note="x"),
    "an unknown key of an evaluation": lambda d: layer(d)["evaluation"].update(note="x"),
    "an unknown word for no bound": lambda d: layer(d).update(bound="certified"),
    "an unknown word for no evaluation": lambda d: layer(d).update(evaluation=None),
    "writers in a table": lambda d: d.update(written_by={"tensortrain": "0.1.0"}),
    "a probe in a table": lambda d: layer(d)["evaluation"].update(probe={}),
    "NaN": lambda d: layer(d).update(error=[float("nan"), layer(d)["error"][1]]),
    "NaN as text": lambda d: layer(d).update(error=["nan", layer(d)["error"][1]]),
    "an infinite end": lambda d: layer(d).update(error=[layer(d)["error"][0], "inf"]),
    "a negative end": lambda d: layer(d).update(error=["-0x1.0000000000000p-9", layer(d)["error"][1]]),
    "a reversed interval": lambda d: layer(d)["error"].reverse(),
    "three ends": lambda d: layer(d)["error"].append("0x1.0000000000000p+0"),
    "an interval above": lambda d: layer(d).update(error=[layer(d)["error"][1], "0x1.0000000000000p+0"]),
    "an interval below": lambda d: layer(d).update(error=["0x0.0p+0", layer(d)["error"][0]]),
    "a zero with a sign": lambda d: layer(d).update(error=["-0x0.0p+0", layer(d)["error"][1]]),
    "digits of another script": lambda d: layer(d).update(error=["0x\u0661.0p-9", layer(d)["error"][1]]),
    "a number too large": lambda d: layer(d).update(error=[layer(d)["error"][0], "0x1.0p+9999"]),
    "a number in other digits": lambda d: layer(d).update(error=["0x0p+0", layer(d)["error"][1]]),
    "a decimal number": lambda d: layer(d).update(error=[0.0, layer(d)["error"][1]]),
    "a larger bound": lambda d: layer(d)["bound"].update(at_least="0x1.0000000000000p-1"),
    "no groups": lambda d: layer(d).update(groups=[1, 0, 1]),
    "negative groups": lambda d: layer(d).update(groups=[1, -1, 1]),
    "groups for a third core": lambda d: layer(d)["groups"].append(1),
    "cores in another order": lambda d: layer(d)["cores"].reverse(),
    "a tensor that is not there": lambda d: layer(d).update(weight="other"),
    "the metadata as a tensor": lambda d: layer(d).update(weight="__metadata__"),
    "a digest in capitals": lambda d: d["files"][0].__setitem__(1, d["files"][0][1].upper()),
    "a file in another folder": lambda d: d["files"][0].__setitem__(0, "../" + d["files"][0][0]),
    "no bond": lambda d: layer(d)["bound"].update(bond=None),
    "a basis too many": lambda d: layer(d)["bound"]["vectors"].append(layer(d)["bound"]["vectors"][0]),
    "a basis too few": lambda d: layer(d)["bound"]["vectors"].pop(),
    "pairs in place of a table": lambda d: d.update(layers=[[[k, v] for k, v in layer(d).items()]]),
    "another digest": lambda d: d["files"][0].__setitem__(1, d["files"][1][1]),
    "a file less": lambda d: d["files"].pop(),
    "a third map": lambda d: layer(d)["evaluation"]["tensors"].append("input"),
    "another orientation": lambda d: layer(d)["evaluation"].update(transposed=True),
    "a number for the orientation": lambda d: layer(d)["evaluation"].update(transposed=-2),
    "a text for the orientation": lambda d: layer(d)["evaluation"].update(transposed="no"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(whole, tmp_path, name):
    assert accepted(changed(whole, tmp_path, lambda d: None)) is not None
    assert accepted(changed(whole, tmp_path, REFUSED[name])) is None


@pytest.mark.parametrize("key", ["format", "weight", "at_least", "transposed"])
def test_a_key_twice_is_refused(whole, tmp_path, key):
    target = changed(whole, tmp_path, lambda d: None)
    lines = target.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.lstrip().startswith(f'"{key}": '))
    target.write_text("\n".join([*lines[:at], lines[at], *lines[at:]]))
    assert json.loads(target.read_text()) == json.loads(whole.read_text())
    assert accepted(target) is None


@pytest.mark.parametrize("part", ["chain", "weight", "evaluation"])
def test_every_byte_of_a_file_counts(whole, tmp_path, part):
    target = changed(whole, tmp_path, lambda d: None)
    file = tmp_path / f"layer.{part}.safetensors"
    content = file.read_bytes()
    for other in (content[:-1], content + b" ", content[:-2] + bytes([content[-2] ^ 1]) + content[-1:]):
        file.write_bytes(other)
        assert accepted(target) is None
    file.write_bytes(content)
    assert accepted(target) is not None


# ---- files that are none, and texts that look like claims ----------------------------------------------------------


def write(path, header, data):
    """A file with this header, a table or a text."""
    text = header if isinstance(header, str) else json.dumps(header)
    path.write_bytes(struct.pack("<Q", len(text)) + text.encode() + data)


VALUES = struct.pack("<4d", 1, 2, 3, 4)
ENTRY = {"dtype": "F64", "shape": [2, 2, 1], "data_offsets": [0, 32]}
OTHER = {**ENTRY, "data_offsets": [32, 64]}
ENTRIES = f'"weight": {json.dumps(ENTRY)}, "weight": {json.dumps(OTHER)}'
DAMAGED = {
    "bytes that belong to no tensor": ({"weight": ENTRY}, VALUES + b"x"),
    "bytes that belong to two": ({"weight": ENTRY, "copy": ENTRY}, VALUES),
    "a gap": ({"weight": {**ENTRY, "data_offsets": [8, 40]}}, bytes(8) + VALUES),
    "a part of the header": ({"weight": {**ENTRY, "data_offsets": [-32, 0]}}, b""),
    "bytes that are not there": ({"weight": ENTRY, "other": OTHER}, VALUES),
    "fewer bytes than entries": ({"weight": {**ENTRY, "data_offsets": [0, 24]}}, VALUES[:24]),
    "a name twice": ("{" + ENTRIES + "}", bytes(32) + VALUES),
    "a key twice": ('{"weight": {"dtype": "F32", ' + json.dumps(ENTRY)[1:] + "}", VALUES),
    "a key more": ({"weight": {**ENTRY, "order": "big"}}, VALUES),
    "integers": ({"weight": {**ENTRY, "dtype": "I64"}}, VALUES),
    "another width": ({"weight": {**ENTRY, "dtype": "F32"}}, VALUES),
    "lengths below zero": ({"weight": {**ENTRY, "shape": [-2, -2, 1]}}, VALUES),
    "NaN": ({"weight": ENTRY}, VALUES[:24] + struct.pack("<d", float("nan"))),
    "infinity": ({"weight": ENTRY}, VALUES[:24] + struct.pack("<d", float("inf"))),
    "no header": ("", VALUES),
    "no tensor": ({}, b""),
}  # fmt: skip


def claim(folder, weight="weight", cores=("core",), groups=None, **other):
    """A certificate about files in the folder that claims an error of at most 1e-9."""
    entry = {"weight": weight, "cores": list(cores), "groups": groups or [1] * (1 + len(cores))}
    entry |= {"error": ["0x0.0p+0", (1e-9).hex()], "bound": "not certified", "evaluation": "not certified"}
    files = [folder / f"{part}.safetensors" for part in ("cores", "weight", "maps")]
    write_certificate(folder / "claim.json", [file for file in files if file.exists()], [entry | other])
    return folder / "claim.json"


@pytest.mark.parametrize("name", DAMAGED)
def test_a_file_is_refused_that_is_not_as_safetensors_are(name, tmp_path):
    write(tmp_path / "cores.safetensors", {"core": ENTRY}, VALUES)
    write(tmp_path / "weight.safetensors", {"weight": ENTRY, "__metadata__": {"weight": "x"}}, VALUES)
    assert "'weight': (A) cores ['core'] make" in accepted(claim(tmp_path))
    write(tmp_path / "weight.safetensors", *DAMAGED[name])
    assert accepted(claim(tmp_path)) is None


def test_cores_of_other_numbers_of_axes_make_no_kernel(tmp_path):
    """Positions cut to the shorter of two would make a kernel of these, of which the sum over an axis is one."""
    first, second = oracles.floats(0, 2, 2, 3, 3), oracles.floats(1, 2, 2, 3)
    weight = ConvTensorTrain([first.sum(-1), second]).reconstruct()
    save_file({"weight": weight}, tmp_path / "weight.safetensors")
    for cores in ([first, second], [first.sum(-1), second[..., None]]):
        save_file({"first": cores[0], "second": cores[1]}, tmp_path / "cores.safetensors")
        assert accepted(claim(tmp_path, cores=("first", "second"))) is None
    save_file({"first": first.sum(-1), "second": second}, tmp_path / "cores.safetensors")
    assert accepted(claim(tmp_path, cores=("first", "second"))) is not None


def evaluation(folder, image, output, probe="none"):
    save_file({"input": image, "output": output}, folder / "maps.safetensors")
    return {"tensors": ["input", "output"], "transposed": False, "error": ["0x0.0p+0", (1e-9).hex()], "probe": probe}


def test_an_input_of_another_number_of_axes_has_no_evaluation(tmp_path):
    core, image = oracles.floats(0, 2, 2, 3), oracles.floats(1, 1, 2, 4, 3)
    save_file({"core": core}, tmp_path / "cores.safetensors")
    save_file({"weight": core}, tmp_path / "weight.safetensors")
    output = torch.nn.functional.conv1d(image.sum(-1), core, padding=1)
    claimed = evaluation(tmp_path, image, output[..., None].expand(-1, -1, -1, 3).contiguous())
    assert accepted(claim(tmp_path, evaluation=claimed)) is None
    claimed = evaluation(tmp_path, image.sum(-1), output)
    assert "(C)" in accepted(claim(tmp_path, evaluation=claimed))
    files = [str(tmp_path / f"{part}.safetensors") for part in ("cores", "weight", "maps")]
    document = json.loads((tmp_path / "claim.json").read_text())
    document["files"].pop()
    (tmp_path / "claim.json").write_text(json.dumps(document, indent=1))
    with pytest.raises(ValueError, match="longer"):  # a file that is named has a digest, too
        tensortrain_check.main(str(tmp_path / "claim.json"), *files)


def test_no_text_of_a_certificate_looks_like_a_claim(tmp_path):
    """A new line in the name of a tensor or in the words about the probe is no new line of the output."""
    core, forged = oracles.floats(0, 2, 2, 3), "x\n'weight': (B) no chain is closer than 0.99"
    save_file({forged: core}, tmp_path / "cores.safetensors")
    save_file({forged: core}, tmp_path / "weight.safetensors")
    image = oracles.floats(1, 1, 2, 4)
    claimed = evaluation(tmp_path, image, torch.nn.functional.conv1d(image, core, padding=1), forged)
    printed = accepted(claim(tmp_path, forged, [forged], evaluation=claimed)).splitlines()
    assert [line.count("(B)") for line in printed] == [2, 1, 2]
    assert all(line.startswith('"x\\n') for line in printed)


# ---- lower bounds that are too large ---------------------------------------------------------------------------------


def forge(folder, weight, cores, cut, bases, value):
    """A certificate about a weight and cores, with this lower bound."""
    save_file({"weight": weight}, folder / "weight.safetensors")
    save_file({f"cores.{l}": core for l, core in enumerate(cores)}, folder / "cores.safetensors")
    claims = Claims.of(weight, cores, [1] * len(cores), False)
    claims = dataclasses.replace(claims, lower_bound=LowerBound(value, cut, bases))
    files = [folder / "cores.safetensors", folder / "weight.safetensors"]
    entry = claims.entry("weight", [f"cores.{l}" for l in range(len(cores))])
    write_certificate(folder / "forged.json", files, [entry])
    return folder / "forged.json"


def two_by_two():
    """A 3×3 weight and two 2×2 cores."""
    weight = oracles.floats(3, 4, 4, 3, 3).float()
    return weight, [oracles.floats(4, 4, 1, 2, 2).float(), oracles.floats(5, 1, 4, 2, 2).float()]


def test_an_unfolding_may_not_use_a_position_twice(tmp_path):
    """With 2×2 positions on both sides of 3×3 the middle one would count four times."""
    weight, cores = two_by_two()
    rows = torch.stack([weight[:, :, a : a + 2, b : b + 2] for a in range(2) for b in range(2)]).double()
    matrix = rows.permute(0, 1, 3, 4, 2).reshape(16, 16)
    forged = forge(tmp_path, weight, cores, Cut(1, (2, 2), 1), [_basis(matrix)], 0.9)
    assert accepted(forged) is None


def test_a_spectrum_needs_as_many_frequencies_as_positions(tmp_path):
    """On two frequencies positions 0 and 2 fall on each other, with the energy of their sum."""
    weight = torch.ones(2, 2, 3, 3) * torch.eye(2)[:, :, None, None]
    cores = [oracles.floats(4, 2, 1, 2, 2).float(), oracles.floats(5, 1, 2, 2, 2).float()]
    folded = weight[:, :, :2, :2].clone().double()
    folded[:, :, 0] += weight[:, :, 2, :2]
    folded[:, :, :, 0] += torch.cat([weight[:, :, :1, 2] + weight[:, :, 2:, 2], weight[:, :, 1:2, 2]], 2)
    bases = [_basis(matrix) for matrix, _ in Cut(0, (2, 2), 1).matrices(folded)]
    assert accepted(forge(tmp_path, weight, cores, Cut(0, (2, 2), 1), bases, 0.99)) is None


def test_an_unfolding_counts_the_positions_on_the_other_side_of_the_bond(tmp_path):
    """Behind 2×2 positions of rank 1 there may be a matrix of rank 4."""
    weight, cores = two_by_two()
    cut = Cut(1, (1, 1), 1)
    matrix = next(cut.matrices(weight.double()))[0]
    values = torch.linalg.svdvals(matrix)
    too_large = float((values[1:].square().sum() / values.square().sum()).sqrt()) - 1e-6
    assert accepted(forge(tmp_path, weight, cores, cut, [_basis(matrix)], too_large)) is None
    assert too_large > 0.5


def test_a_kernel_with_more_positions_than_the_weight_is_another_kernel(tmp_path):
    weight, cores = two_by_two()
    certificate = forge(tmp_path, weight, cores, Cut(1, (1, 1), 4), [], 0.0)
    longer = [cores[0], torch.nn.functional.pad(cores[1], (0, 1, 0, 1), value=1.0)]
    save_file({f"cores.{l}": core for l, core in enumerate(longer)}, tmp_path / "cores.safetensors")
    entry = json.loads(certificate.read_text())["layers"][0]
    files = [tmp_path / "cores.safetensors", tmp_path / "weight.safetensors"]
    write_certificate(certificate, files, [{**entry, "bound": "not certified"}])
    assert accepted(certificate) is None


# ---- what it accepts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_all_dtypes_and_scales(dtype, scale, tmp_path):
    if dtype == torch.float16 and scale != 1:
        scale = scale**0.1
    weight = (oracles.floats(6, 4, 3, 3, 1) * scale).to(dtype)
    cores = [oracles.floats(7, 4, 2, 2, 1).to(dtype), (oracles.floats(8, 2, 3, 2, 1) * scale).to(dtype)]
    certificate = ConvTensorTrain(cores).certificate(weight)
    certificate.save(tmp_path / "layer.json")
    assert accepted(tmp_path / "layer.json") is not None
    assert truth(tmp_path / "layer.json")
    assert certificate.error[1] - certificate.error[0] <= 1e-13 * certificate.error[1]


def test_mutants_are_accepted_only_if_they_are_true(tmp_path):
    tried, passed, faults = campaign(tmp_path, range(400))
    assert faults == []
    assert sum(tried.values()) == 400
    assert passed["a damaged file"] == 0
    assert passed["nudged"] > 0
