"""The package as it is installed: a built wheel works, imports are light, the demo runs."""

import importlib.metadata
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import tensortrain
from tensortrain import demo

ROOT = Path(__file__).parents[1]


def run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    built = run("-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT), cwd=out)
    assert built.returncode == 0, built.stdout + built.stderr
    return next(out.glob("*.whl"))


def test_wheel_holds_the_packages_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "tensortrain/py.typed" in names
    assert "tensortrain/conv/fit/spectral.py" in names
    assert "tensortrain/nn/conv.py" in names
    assert "zoo/cells/conv_tt_lstm.py" in names
    assert sorted(name for name in names if name.startswith("zoo/weights/")) == sorted(
        f"zoo/weights/{path.name}" for path in (ROOT / "zoo" / "weights").iterdir()
    )
    assert not [name for name in names if not name.startswith(("tensortrain", "zoo/"))]


def test_wheel_works(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import torch, tensortrain as tt; print(tt.__file__);"
        "print(tt.ConvTensorTrain.decompose(torch.randn(4, 4, 5, 5), (3, 3), ranks=16).error)"
    )
    done = run("-c", code, cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"))
    assert done.returncode == 0, done.stderr
    where, error = done.stdout.split()
    assert where.startswith(str(tmp_path))
    assert float(error) == 0


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment that sees this one's packages but for the project itself."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin" / "python"


@pytest.mark.parametrize("source", ["wheel", "git"])
def test_pip_installs_a_wheel_and_a_git_address(source: str, wheel: Path, environment: Path, tmp_path: Path) -> None:
    if source == "git" and not (ROOT / ".git").exists():
        pytest.skip("this checkout is no Git repository")
    place = str(wheel) if source == "wheel" else f"git+file://{ROOT}"
    command = ["-m", "pip", "--python", str(environment), "install", "-q", "--no-deps", "--no-build-isolation", place]
    trusted = tmp_path / "gitconfig"  # Git refuses a repository that belongs to another user, as where CI checks out
    trusted.write_text("[safe]\n\tdirectory = *\n")
    installed = run(*command, "--force-reinstall", cwd=tmp_path, GIT_CONFIG_GLOBAL=str(trusted))
    assert installed.returncode == 0, installed.stderr
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = "import tensortrain, zoo; print(tensortrain.__file__, len(zoo.pretrained_names('conv-lstm')))"
    commands = [[environment.parent / program, "--version"] for program in ("tensortrain", "zoo")]
    outputs = []
    for command in [*commands, [environment, "-c", code]]:
        done = subprocess.run(command, cwd=tmp_path, env=bare, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version in outputs[0]
    assert version in outputs[1]
    where, weights = outputs[2].split()
    assert where.startswith(str(environment.parents[1]))
    assert int(weights) > 0


def test_import_is_light(tmp_path: Path) -> None:
    heavy = ["tensorly", "scipy", "matplotlib", "sklearn", "rich", "typer", "onnx"]
    code = f"import tensortrain, sys; print([m for m in {heavy} if m in sys.modules])"
    assert run("-c", code, cwd=tmp_path).stdout.strip() == "[]"


def test_import_of_the_zoo_is_light(tmp_path: Path) -> None:
    heavy = ["lightning", "torchmetrics", "torchvision", "lpips", "matplotlib", "av", "sklearn", "jsonargparse", "rich"]
    code = f"import zoo, sys; print([m for m in {heavy} if m in sys.modules])"
    assert run("-c", code, cwd=tmp_path).stdout.strip() == "[]"


def test_the_version_is_that_of_the_installed_package(tmp_path: Path) -> None:
    version = importlib.metadata.version("tensortrain")
    assert tensortrain.__version__ == version
    assert "__version__" in dir(tensortrain)
    done = run("-m", "tensortrain", "--version", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"tensortrain {version}\n", "")
    with pytest.raises(AttributeError, match="module 'tensortrain' has no attribute 'version'"):
        tensortrain.version  # noqa: B018


def test_import_does_not_load_what_only_some_need(tmp_path: Path) -> None:
    """Solvers, whole networks and the command are imported when they are first used."""
    later = ["tensortrain.conv.fit", "tensortrain.compression", "tensortrain.cli", "tensortrain.demo"]
    code = f"import tensortrain, sys; print([m for m in {later} if m in sys.modules]); tensortrain.nn.decompose"
    done = run("-c", code, cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "[]")


def test_demo_trains_on_real_digits() -> None:
    torch.manual_seed(0)
    model = demo.network()
    x, y, x_test, y_test = demo.digits()
    assert (len(x), len(x_test)) == (1347, 450)
    demo.train(model, x, y, epochs=3)
    assert demo.accuracy(model, x_test, y_test) > 0.9


def test_demo_on_a_checkpoint(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    save_file({"conv.weight": torch.randn(6, 5, 3, 3, generator=generator)}, tmp_path / "net.safetensors")
    done = run("-m", "tensortrain.demo", "net.safetensors", "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "verified: 1 layers" in done.stdout
    assert (tmp_path / "out" / "kernels.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out" / "small.safetensors").is_file()


def test_demo_refuses_a_checkpoint_without_kernels(tmp_path: Path) -> None:
    save_file({"fc.weight": torch.ones(3, 3)}, tmp_path / "net.safetensors")
    done = run("-m", "tensortrain.demo", "net.safetensors", cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
