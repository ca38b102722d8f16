"""The command `tensortrain compress`: networks and inputs from functions, images of a folder, reports, bad input."""

import importlib.util

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import tensortrain as tt
from tensortrain.compression import command
from tests.support.command import run, shell

MODULE = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d({channels}, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4))

def batches():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(20, {channels}, 8, 8, generator=generator) for _ in range(3)]

def others():
    return [2 * batch for batch in batches()]

def accuracy(model):
    return 1 - sum(p.numel() for p in model.parameters()) / 1e6

def number():
    return 3

def failing():
    raise KeyError("no such thing")
"""


@pytest.fixture
def folder(tmp_path):
    """A module that builds a network, and its weights."""
    file = tmp_path / "my_module.py"
    file.write_text(MODULE.format(channels=3))
    (tmp_path / "grey.py").write_text(MODULE.format(channels=1))
    for name in ("my_module", "grey"):
        torch.save(built(tmp_path / f"{name}.py").state_dict(), tmp_path / f"{name}.pt")
    images = tmp_path / "images"
    (images / "sub").mkdir(parents=True)
    for index in range(5):
        pixels = bytes((40 * index + 7 * k) % 256 for k in range(3 * 10 * 12))
        Image.frombytes("RGB", (12, 10), pixels).save(images / ("sub" if index % 2 else "") / f"{index}.png")
    return tmp_path


def built(path):
    spec = importlib.util.spec_from_file_location("built", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build()


def test_as_a_user_types_it(folder, capsys):
    done = shell(
        "compress", "my_module.py:build", "my_module.pt", "--data", "my_module.py:batches", "--parameters", "0.5",
        "-o", "small.safetensors", "--report", "report.csv", "--report", "report.json",
        "--metric", "my_module.py:accuracy", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "metric: 0.9983 before" in done.stdout
    assert (folder / "report.csv").is_file()
    assert (folder / "report.json").is_file()
    network = built(folder / "my_module.py").eval()
    small = tt.nn.load(built(folder / "my_module.py").eval(), folder / "small.safetensors")
    assert sum(p.numel() for p in small.parameters()) <= 0.5 * sum(p.numel() for p in network.parameters())
    verify = ("verify", folder / "small.safetensors", "--against", folder / "my_module.pt")
    assert run(*verify) == 0
    assert "the errors of the layers' outputs were not checked" in capsys.readouterr().out
    network = ("--network", f"{folder}/my_module.py:build")
    assert run(*verify, *network, "--data", f"{folder}/my_module.py:batches") == 0
    assert "verified: errors of the outputs of" in capsys.readouterr().out
    assert run(*verify, *network, "--data", f"{folder}/my_module.py:others") == 1
    assert "FAILED the inputs are not those" in capsys.readouterr().out
    assert run(*verify, *network) == 2


@pytest.mark.parametrize(("name", "values"), [("my_module", "0.4,0.5,0.6"), ("grey", "0.5")])
def test_images_of_a_folder(folder, capsys, name, values):
    arguments = ("--size", "8x9", "--mean", values, "--std", values.replace("0.4", "0.2"), "--parameters", "0.6")
    status = run(
        "compress", f"{folder / name}.py:build", folder / f"{name}.pt", "--data", folder / "images", *arguments,
        "-o", folder / "small.safetensors",
    )  # fmt: skip
    assert status == 0
    assert "outputs on 5 inputs" in capsys.readouterr().out


def test_images_are_mixed_resized_and_normalised(folder):
    from tensortrain.compression.user_code import image_batches

    (batch,) = image_batches(folder / "images", (10, 12), [0.5, 0.0, 0.0], [0.25, 1.0, 1.0])
    assert batch.shape == (5, 3, 10, 12)
    values = (batch[:, 1, 0, 0] * 255).round().int().tolist()  # the second value of each image
    assert sorted(values) == [7, 47, 87, 127, 167]
    assert values != [7, 87, 167, 47, 127]  # the order of the paths
    assert batch[values.index(7), 0, 0, 0] == pytest.approx((0 - 0.5) / 0.25)
    (again,) = image_batches(folder / "images", (10, 12), [0.5, 0.0, 0.0], [0.25, 1.0, 1.0])
    assert torch.equal(again, batch)


def test_without_data_and_with_other_budgets(folder, capsys):
    base = ("compress", f"{folder}/my_module.py:build", folder / "my_module.pt", "-o", folder / "s.safetensors")
    assert run(*base, "--parameters", "1000", "--exclude", "5") == 0
    text = capsys.readouterr().out
    assert "no inputs: errors are relative Frobenius errors of the weights" in text
    assert "parameters ≤ 1,000 of" in text
    data = ("--data", f"{folder}/my_module.py:batches")
    assert run(*base, *data, "--macs", "0.5", "--multiple", "2", "--at-most", "0=0.5", "--at-least", "2=0.2") == 0
    assert run(*base, "--parameters", "0.9", "--at-most", "0.5") == 2
    fits = ("--formats", "cttd", "--formats", "tucker2", "--effort", "0.02", "--seconds", "60", "--objective", "both")
    assert run(*base, *data, "--parameters", "0.5", *fits) == 0
    capsys.readouterr()
    assert run(*base, "--parameters", "0.5", "--formats", "svd") == 2
    assert "formats = 'svd' is unknown" in capsys.readouterr().err
    assert run(*base, *data, "--max-drop", "0.5", "--metric", f"{folder}/my_module.py:accuracy") == 0


def test_the_report_is_printed_even_if_no_layer_changes_so_that_nothing_can_be_saved(folder, capsys):
    base = ("compress", f"{folder}/my_module.py:build", folder / "my_module.pt", "-o", folder / "s.safetensors")
    assert run(*base, "--parameters", "1.0") == 2
    assert "parameters ≤" in capsys.readouterr().out
    assert not (folder / "s.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{}/none.py:build", "{}/my_module.pt"], "there is no file"),
        (["{}/my_module.py", "{}/my_module.pt"], "MODULE.py:FUNCTION is needed"),
        (["{}/my_module.py:none", "{}/my_module.pt"], "has no function 'none'"),
        (["{}/my_module.py:number", "{}/my_module.pt"], "returned a int; an nn.Module is needed"),
        (["{}/my_module.py:failing", "{}/my_module.pt"], "raised KeyError: 'no such thing'"),
        (["no_such_module_at_all:build", "{}/my_module.pt"], "cannot be run: ModuleNotFoundError"),
        (["{}/my_module.py:build", "{}/none.pt"], "cannot read"),
        (["{}/grey.py:build", "{}/my_module.pt"], "does not fit the network"),
        (["{}/my_module.py:build", "{}/my_module.pt", "--data", "{}/images"], "needs --size, --mean, --std"),
        (["{}/my_module.py:build", "{}/my_module.pt", "--size", "8"], "--size are for folders of images"),
        (
            [
                "{}/my_module.py:build",
                "{}/my_module.pt",
                "--data",
                "{}/images",
                "--size",
                "a",
                "--mean",
                "0",
                "--std",
                "1",
            ],
            "--size = 'a'; one whole number of pixels",
        ),
        (
            [
                "{}/my_module.py:build",
                "{}/my_module.pt",
                "--data",
                "{}/images",
                "--size",
                "8",
                "--mean",
                "0",
                "--std",
                "0",
            ],
            "those of std positive",
        ),
        (
            [
                "{}/my_module.py:build",
                "{}/my_module.pt",
                "--data",
                "{}/empty",
                "--size",
                "8",
                "--mean",
                "0",
                "--std",
                "1",
            ],
            "holds no images",
        ),
        (["{}/my_module.py:build", "{}/my_module.pt", "--report", "r.pdf"], "report = r.pdf ends in '.pdf'"),
        (["{}/my_module.py:build", "{}/my_module.pt", "--macs", "0.5"], "pass inputs"),
        (
            ["{}/my_module.py:build", "{}/my_module.pt", "--time", "0.5"],
            "time: the time of a layer depends on its inputs",
        ),
        (["{}/my_module.py:build", "{}/my_module.pt", "--parameters", "x"], "parameters = 'x'; a fraction"),
        (["{}/my_module.py:build", "{}/my_module.pt", "--at-least", "0=x"], "--at-least = '0=x'; LAYER=FRACTION is"),
        (["{}/my_module.py:build", "{}/my_module.pt", "--at-most", "0.5"], "--at-most = '0.5'; LAYER=FRACTION is"),
        (
            ["{}/my_module.py:build", "{}/my_module.pt", "--at-least", "0=0.9", "--at-least", "0=0.1"],
            "--at-least has two values for '0', 0.9 and 0.1",
        ),
    ],
)
def test_bad_input(folder, capsys, arguments, message):
    (folder / "empty").mkdir()
    before = sorted(path.name for path in folder.iterdir())
    budget = () if {"--macs", "--parameters", "--time"} & set(arguments) else ("--parameters", "0.5")
    filled = [argument.format(folder) for argument in arguments]
    assert run("compress", *filled, *budget, "-o", folder / "small.safetensors") == 2
    assert message in capsys.readouterr().err
    after = sorted(path.name for path in folder.iterdir())
    assert [name for name in after if name != "__pycache__"] == [name for name in before if name != "__pycache__"]


def test_a_damaged_image_and_a_folder_that_cannot_be_written(folder, capsys):
    (folder / "images" / "bad.png").write_bytes(b"no image")
    base = ("compress", f"{folder}/my_module.py:build", folder / "my_module.pt", "--parameters", "0.5")
    images = ("--data", folder / "images", "--size", "8", "--mean", "0,0,0", "--std", "1,1,1")
    assert run(*base, *images, "-o", folder / "s.safetensors") == 2
    assert "bad.png" in capsys.readouterr().err
    assert run(*base, "-o", folder / "none" / "s.safetensors") == 2
    assert "cannot write" in capsys.readouterr().err
    assert isinstance(built(folder / "my_module.py"), nn.Sequential)


def test_the_checkpoint_is_never_overwritten_and_reports_are_refused_first(folder, capsys):
    before = (folder / "my_module.pt").read_bytes()
    base = ("compress", f"{folder}/my_module.py:build", folder / "my_module.pt", "--parameters", "0.5")
    assert run(*base, "-o", folder / "my_module.pt") == 2
    assert "which is an input" in capsys.readouterr().err
    for report in (folder / "none" / "report.html", folder / "images"):
        report = report.with_suffix(".html")
        report.is_dir() or (report.parent == folder and report.mkdir())
        assert run(*base, "-o", folder / "small.safetensors", "--report", report) == 2
        assert "cannot write" in capsys.readouterr().err
    assert not (folder / "small.safetensors").exists()
    assert (folder / "my_module.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("my_module.py", [], "which is an input"),
        ("link.py", [], "which is an input"),
        ("helper.py", [], "which is an input"),
        ("grey.py", ["--data", "grey.py:batches"], "which is an input"),
        ("elsewhere/m.py", ["--data", "elsewhere/m.py:batches"], "which is an input"),
        ("elsewhere/m.py", ["--metric", "elsewhere/m.py:accuracy"], "which is an input"),
        ("elsewhere/m.py", ["--metric", "elsewhere.m:accuracy"], "which is an input"),
        ("elsewhere/helper.py", ["--metric", "elsewhere.m:accuracy"], "which is an input"),
        ("images/sub/1.png", ["--data", "images", "--size", "8", "--mean", "0,0,0", "--std", "1,1,1"], "is an input"),
        ("s.st", ["--report", "my_module.html"], "which is an input"),
        ("s.html", ["--report", "s.html"], "s.html is the same file"),
        ("s.st", ["--report", "r.html", "--report", "./r.html"], "r.html is the same file"),
        ("s.st", ["--resume", "s.st"], "which is an input"),
    ],
)
def test_no_file_that_the_command_reads_or_writes_is_replaced(folder, capsys, monkeypatch, output, options, message):
    """Before anything runs: the user's programs, their neighbours and the images are files without a copy."""
    monkeypatch.chdir(folder)
    (folder / "link.py").symlink_to("my_module.py")
    (folder / "my_module.html").symlink_to("my_module.py")
    (folder / "helper.py").write_text("")
    (folder / "elsewhere").mkdir()
    for name in ("m.py", "helper.py"):
        (folder / "elsewhere" / name).write_text(MODULE.format(channels=3))
    monkeypatch.setattr("tensortrain.compression.user_code.function", None)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    base = ("compress", "my_module.py:build", "my_module.pt", "--parameters", "0.5", "-o", output)
    assert run(*base, *options) == 2
    assert message in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_files_of_modules_are_found_without_running_them(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "package").mkdir()
    for name in ("__init__.py", "failing.py"):
        (folder / "package" / name).write_text("raise RuntimeError")
    for text in ("package.failing:f", "package/failing.py:f"):
        assert command.code_files(text)[0].resolve() == folder / "package" / "failing.py"
        assert {path.name for path in command.code_files(text)} == {"__init__.py", "failing.py"}
    assert command.code_files("package:f")[0] == folder / "package" / "__init__.py"
    for text in (None, "", ":", "no colon", "math:sqrt", "absent.module:f", "package.absent:f", "a..b:f", "images:f"):
        assert [path for path in command.code_files(text) if folder in path.resolve().parents] == []


def test_a_module_may_import_its_neighbours_and_hold_dataclasses_and_runs_once(folder, capsys, monkeypatch):
    (folder / "neighbour_of_mine.py").write_text("SIZE = 12\n")
    (folder / "rich_module.py").write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from torch import nn\n"
        "from neighbour_of_mine import SIZE\n"
        "print('running')\n"
        "@dataclass\nclass Config:\n    size: int = SIZE\n"
        "class Net(nn.Linear):\n    forward = nn.Linear.forward\n"
        "def build():\n    return Net(Config().size, 12)\n"
        "def score(network):\n    return float(isinstance(network, Net))\n"
    )
    torch.save(nn.Linear(12, 12).state_dict(), folder / "rich.pt")
    monkeypatch.chdir(folder)
    for form in (f"{folder}/rich_module.py", "rich_module"):
        status = run(
            "compress", f"{form}:build", folder / "rich.pt", "--metric", f"{form}:score", "--parameters", "0.7",
            "-o", folder / f"{len(form)}.safetensors",
        )  # fmt: skip
        out = capsys.readouterr().out
        assert status == 0
        assert out.count("running") == 1
        assert "metric: 1.0000 before" in out or "metric: 1 before" in out


def test_images_of_sixteen_bits_keep_their_values(folder):
    from tensortrain.compression.user_code import image_batches

    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    for name, image in (("deep", Image.fromarray(ramp)), ("flat", Image.fromarray((ramp // 257).astype(np.uint8)))):
        (folder / name).mkdir()
        image.save(folder / name / "ramp.png")
    deep, flat = (next(image_batches(folder / name, (8, 8), [0.0], [1.0])) for name in ("deep", "flat"))
    torch.testing.assert_close(deep, flat, rtol=0, atol=1.01 / 255)


@pytest.mark.parametrize("size", ["nan", "inf", "224.7", "8x", "8x8x8", "-8", "0", ""])
def test_sizes_are_whole_numbers(folder, capsys, size):
    base = ("compress", f"{folder}/my_module.py:build", folder / "my_module.pt", "--parameters", "0.5")
    images = ("--data", folder / "images", f"--size={size}", "--mean", "0,0,0", "--std", "1,1,1")
    assert run(*base, *images, "-o", folder / "small.safetensors") == 2
    assert "one whole number of pixels or HEIGHTxWIDTH" in capsys.readouterr().err
