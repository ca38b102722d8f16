"""Every command as a user types it, from training to pictures, and what bad input gets."""

import csv
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import zoo
from tests.support.runs import run_command
from zoo.cli import COMMANDS
from zoo.commands.train import minutes
from zoo.errors import ZooError
from zoo.training.session import Session

TINY = ["--options.hidden=[2]", "--options.layers=[1]", "--options.kernel=3", "--options.patch=4"]
QUICK = ["--data.digits=1", "--data.size=32", "--data.length=6", "--data.observed=3", "--training.steps=2"]
QUICK += ["--training.batch_size=2", "--training.validate_every=2", "--training.validation_clips=2"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny run on embedded digits."""
    folder = tmp_path_factory.mktemp("zoo")
    for model in ("conv-lstm", "conv-tt-lstm-sw"):
        arguments = ["train", model, "moving-mnist", *TINY, *QUICK, "--data-root", folder, "-o", folder / model]
        assert run_command(*arguments, "--training.precision=64-true") == 0
    return folder


def test_train_writes_a_run_that_opens(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = yaml.safe_load((trained / "conv-lstm" / "config.yaml").read_text())
    assert config["options"] == {"hidden": [2], "layers": [1], "kernel": 3, "channels": 1, "patch": 4, "sigmoid": False}
    assert config["data"]["source"] == "embedded"
    assert config["training"]["l1"] == 0.0  # of the small preset
    assert (trained / "conv-lstm" / "checkpoints" / "best.ckpt").exists()
    assert zoo.open_run(trained / "conv-lstm").step == 2


def test_settings_come_from_a_file_and_later_words_replace_them(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("training:\n  steps: 1\n  seed: 5\ndata:\n  digits: 3\n")
    words = ["--config", tmp_path / "mine.yaml", "--training.seed=6", "--data.size=32", *TINY]
    quick = [
        "--training.batch_size=1",
        "--training.validation_clips=1",
        "--data-root",
        tmp_path,
        "-o",
        tmp_path / "run",
    ]
    assert run_command("train", "conv-lstm", "moving-mnist", *words, *quick) == 0
    recipe = zoo.open_run(tmp_path / "run").recipe
    assert (recipe.training.steps, recipe.training.seed, recipe.data.digits) == (1, 6, 3)


def test_ctrl_c_ends_with_a_friendly_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write = Session.write

    def interrupted(self: Session, row: dict[str, float], speed: float) -> None:
        write(self, row, speed)
        if row["step"] == 1:
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
    monkeypatch.setattr(Session, "write", interrupted)
    words = ["train", "conv-lstm", "moving-mnist", *TINY, *QUICK, "--training.steps=9", "--data-root", tmp_path]
    try:
        assert run_command(*words, "--training.log_every=1", "-o", tmp_path / "run") == 130
    finally:
        signal.signal(signal.SIGINT, before)
    said = " ".join("".join(capsys.readouterr()).split())
    assert re.search("Stopped after step [12] of 9, as requested. Everything is saved: repeat the command", said)
    assert "interrupted" not in said
    assert "Traceback" not in said


def test_evaluate_prints_a_table_and_writes_values(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture, table = trained / "values.png", trained / "values.csv"
    words = ["--count=2", "--data-root", trained, "--curves", picture]
    assert run_command("evaluate", trained / "conv-lstm", *words) == 0
    out, err = capsys.readouterr()
    for expected in ("copy last frame", "blank frames", "conv-lstm", "Convention", "LPIPS is empty"):
        assert expected.lower() in " ".join(out.split()).lower(), expected
    assert "embedded" in err
    assert picture.read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader(table.open()))
    assert {row["model"] for row in rows} == {"copy last frame", "blank frames", "conv-lstm"}
    assert sum((row["model"], row["metric"]) == ("conv-lstm", "mse") for row in rows) == 3  # as in training


def test_the_horizon_is_that_of_the_training(trained: Path, tmp_path: Path) -> None:
    assert run_command("predict", trained / "conv-lstm", "--data-root", trained, "-o", tmp_path / "out.npz") == 0
    assert np.load(tmp_path / "out.npz")["predictions"].shape[1] == 3
    words = ["--count=1", "--data-root", trained, "--curves", tmp_path / "curves.png"]
    assert run_command("compare", trained / "conv-lstm", trained / "conv-tt-lstm-sw", *words) == 0
    rows = list(csv.DictReader((tmp_path / "curves.csv").open()))
    assert sum((row["model"], row["metric"]) == ("conv-tt-lstm-sw", "mse") for row in rows) == 3


def test_evaluate_takes_another_convention_and_more_digits(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--horizon=1", "--count=1", "--digits=3", "--convention=openstl", "--data-root", trained]
    assert run_command("evaluate", trained / "conv-lstm", *words) == 0
    out, err = capsys.readouterr()
    assert "openstl" in out.lower()
    assert "3 moving digits" in err


def test_compare_sets_runs_beside_published_rows(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--horizon=2", "--count=2", "--data-root", trained, "--curves", trained / "curves.png"]
    words += ["--layout", "conv-tt-lstm"]
    assert run_command("compare", trained / "conv-lstm", trained / "conv-tt-lstm-sw", *words) == 0
    out = capsys.readouterr().out
    assert "published" in out
    assert out.count("measured") >= 2
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out.replace("0…255", "")
    assert (trained / "curves.png").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader((trained / "curves.csv").open()))
    assert {row["model"] for row in rows} == {"copy last frame", "blank frames", "conv-lstm", "conv-tt-lstm-sw"}


@pytest.mark.parametrize(
    ("suffix", "beginning"), [("csv", "Model,Parameters,"), ("md", "3 observed"), ("html", "<table>")]
)
def test_compare_writes_its_table(trained: Path, tmp_path: Path, suffix: str, beginning: str) -> None:
    table = tmp_path / f"table.{suffix}"
    words = ["--horizon=1", "--count=2", "--data-root", trained, "-o", table]
    assert run_command("compare", trained / "conv-lstm", *words) == 0
    text = table.read_text()
    assert text.startswith(beginning), text[:80]
    for part in ("conv-lstm", "blank frames", "±"):
        assert part in text


def test_compare_fills_all_columns_of_a_table(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Several horizons and numbers of digits in one row, and the curves of the longest horizon."""
    words = ["--horizon", "1", "2", "--digits", "2", "3", "--count=1", "--layout", "predrnn-pp", "--data-root", trained]
    assert run_command("compare", trained / "conv-lstm", *words, "--curves", trained / "two.png") == 0
    out, err = capsys.readouterr()
    places = zip([(1, 2), (1, 3), (2, 2), (2, 3)], err.splitlines(), strict=True)
    assert all(line.endswith(f": 3 → {h} steps, {digits} moving digits") for (h, digits), line in places)
    assert out.count("1 clip of") == 4
    assert {row["horizon"] for row in csv.DictReader((trained / "two.csv").open())} == {"2"}


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("gif", b"GIF8"), ("mp4", b"\0\0\0")])
def test_predict_draws_every_kind_of_picture(trained: Path, suffix: str, magic: bytes) -> None:
    picture = trained / f"picture.{suffix}"
    words = ["--horizon=2", "--data-root", trained, "-o", picture]
    assert run_command("predict", trained / "conv-lstm", trained / "conv-tt-lstm-sw", *words) == 0
    assert picture.read_bytes().startswith(magic)


def test_predict_continues_a_video(trained: Path) -> None:
    video = trained / "picture-in.gif"
    words = ["--data-root", trained, "-o"]
    assert run_command("predict", trained / "conv-lstm", "--horizon=4", *words, video) == 0
    words = ["--horizon=2", "--video", video, *words]
    assert run_command("predict", trained / "conv-lstm", *words, trained / "continued.gif") == 0
    assert (trained / "continued.gif").exists()


def test_predict_writes_numbers_and_frames_of_clips_without_truth(trained: Path) -> None:
    """An own clip of as many frames as are observed: there is nothing to compare with."""
    np.save(trained / "own.npy", np.random.default_rng(0).random((5, 28, 28), np.float32))
    words = ["--video", trained / "own.npy", "--observed=5", "--horizon=3", "-o"]
    assert run_command("predict", trained / "conv-lstm", *words, trained / "own.npz") == 0
    with np.load(trained / "own.npz") as file:
        assert (len(file["observed"]), len(file["truth"]), file["predictions"].shape[1]) == (5, 0, 3)
        assert file["models"].tolist() == ["conv-lstm", "copy last frame"]
    assert run_command("predict", trained / "conv-lstm", *words, trained / "own") == 0
    assert sorted(path.name for path in (trained / "own" / "predictions" / "conv-lstm").iterdir()) == [
        "0006.png",
        "0007.png",
        "0008.png",
    ]
    words = ["--observed=7", "--horizon=1", "--data-root", trained, "-o", trained / "seven.npz"]  # of a test clip
    assert run_command("predict", trained / "conv-lstm", *words) == 0
    with np.load(trained / "seven.npz") as file:
        assert (len(file["observed"]), len(file["truth"])) == (7, 1)


def test_an_exported_file_holds_the_run(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = trained / "mine.safetensors"
    assert run_command("export", trained / "conv-lstm", "-o", weights) == 0
    assert run_command("evaluate", weights, "--horizon=1", "--count=1", "--data-root", trained) == 0
    from zoo.model_files.pretrained import load_weights

    model, recipe = load_weights(weights)
    run = zoo.open_run(trained / "conv-lstm")
    assert recipe == run.recipe
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), run.model.parameters(), strict=True))


def test_gradients_and_entanglement_write_pictures_and_tables(trained: Path) -> None:
    runs = [trained / "conv-lstm", trained / "conv-tt-lstm-sw"]
    words = ["--data-root", trained, "-o"]
    assert run_command("gradients", *runs, "--horizon=2", "--count=2", *words, trained / "gradients.png") == 0
    assert run_command("entanglement", "--length=3", "--count=5", *words, trained / "overlap.png") == 0
    for name, lines in (("gradients", {"conv-lstm", "conv-tt-lstm-sw"}), ("overlap", {"frequency"})):
        assert (trained / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert lines <= {row["line"] for row in csv.DictReader((trained / f"{name}.csv").open())}


def test_models_lists_every_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("models") == 0
    out = capsys.readouterr().out
    for name in zoo.list_models():
        assert name in out


def test_models_are_listed_without_torch() -> None:
    code = "import sys; from zoo.cli import main; main(['models']); print('torch' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.splitlines()[-1] == "False"


def test_data_says_which_digits_it_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("data", "mnist", "--data-root", tmp_path) == 0
    assert capsys.readouterr().out.count("embedded scikit-learn") == 3


def test_it_runs_as_a_module() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "zoo", "train", "--help"], capture_output=True, text=True, check=True
    )
    assert "--training.batch_size" in process.stdout
    assert process.stderr == ""


def test_version_is_that_of_the_installed_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("--version") == 0
    assert capsys.readouterr().out == f"zoo {zoo.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(command, "--help") == 0
    first = (COMMANDS[command].run.__doc__ or "").partition("\n")[0]
    said = " ".join(capsys.readouterr().out.split())
    assert first in said
    assert "Every command also takes --import FILE: it first runs a Python file that registers your own models" in said


def test_help_of_a_model_shows_its_options_and_the_presets_values(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("train", "conv-tt-lstm-sw", "moving-mnist", "--preset", "paper", "--help") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "--options.rank RANK R, the rank of the train. (type: int, default: 8)" in out
    assert "312500" in out


def test_shell_completion_knows_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("--print_completion=shtab-bash") == 0
    assert "evaluate" in capsys.readouterr().out


@pytest.mark.parametrize(("text", "expected"), [("90s", 1.5), ("25m", 25), ("2h", 120), ("7", 7)])
def test_times_have_units(text: str, expected: float) -> None:
    assert minutes(text) == expected


@pytest.mark.parametrize("text", ["", "h", "-5m", "0", "nan", "inf", "5d"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ZooError, match="max-time"):
        minutes(text)


BAD = [
    ("train conv-lstn moving-mnist", "did you mean 'conv-lstm'"),
    ("train conv-lstm moving-mnis", "did you mean 'moving-mnist'"),
    ("train conv-lstm moving-mnist --preset smal", "did you mean 'small'"),
    ("train conv-lstm moving-mnist --training.batchs 3", "--training.batchs"),
    ("train conv-lstm moving-mnist --training.batch_size many", "training.batch_size"),
    ("train conv-lstm moving-mnist --training.batch_size 0", "training.batch_size = 0"),
    ("train conv-lstm moving-mnist --options.rank 3", "--options.rank"),
    ("train conv-tt-lstm-sw moving-mnist --options.order 4", "order = 4 exceeds steps = 3"),
    ("train conv-lstm moving-mnist --data.size 20", "size = 20"),
    ("train conv-lstm moving-mnist --max-time soon", "max-time"),
    ("train conv-lstm moving-mnist --config missing.yaml", "missing.yaml"),
    ("evaluate nowhere", "nowhere is not a trained model"),
    ("evaluate conv-lstm:moving-minst", "no weights 'moving-minst'"),
    ("evaluate {run} --horizon 0", "horizon = 0"),
    ("evaluate {run} --convention mine", "mine"),
    ("evaluate {run} --checkpoint step-7", "step-7"),
    ("evaluate {run} --published {text}", "mnist_test_seq.npy"),
    ("evaluate {text}.safetensors", "safetensors"),
    ("evaluate {run} --curves curves.pdf", ".png"),
    ("evaluate {run} --curves nowhere/curves.png", "nowhere is not a folder"),
    ("evaluate {run} --digits 2 --published {text}", "--digits 2 has no effect with --published"),
    ("compare {run} --digits 2 3 --curves curves.pdf", ".png"),
    ("compare {run} -o table.pdf", ".csv, .md, .tex, .html"),
    ("compare {run} -o nowhere/table.csv", "nowhere"),
    ("export {run} -o {run}/x.onnxx", "legal are .safetensors, .onnx, .pt2"),
    ("export {run} -o {run}/weights", "legal are .safetensors, .onnx, .pt2"),
    ("predict {run} -o picture.bmp", ".bmp"),
    ("predict {run} -o {run}/x.gif --video {text}", "no.txt"),
    ("predict {run} -o {run}/x.gif --clip 5000", "5000"),
    ("predict {run} -o {run}", "it exists already"),
    ("predict {run} -o {run}/x.npz --observed 0", "--observed 0 must be at least 1"),
    ("predict {run} -o {run}/x.npz --observed 9 --video short.npy", "does not have 9 frames to observe"),
    ("predict {run} {run} -o {run}/x.gif", "two models are called 'conv-lstm'"),
    ("gradients {run} {run} -o {run}/x.png", "two models are called 'conv-lstm'"),
    ("gradients {run} -o {run}/x.pdf", ".png"),
    ("gradients {run} conv-lstm:moving-mnist-small -o {run}/x.png", "was trained with data.observed = 10"),
    ("predict {run} conv-lstm:moving-mnist-small -o {run}/x.png", "was trained with data.observed = 10"),
    ("evaluate {run} --device gpu", "device = 'gpu' cannot be used"),
    ("compare {run} --device meta", "device = 'meta' computes nothing"),
    ("predict {run} -o {run}/x.png --device cuda:77", "device = 'cuda:77' cannot be used"),
    ("gradients {run} -o {run}/x.png --device gpu", "device = 'gpu' cannot be used"),
    ("compress {run} -o {run}/x.safetensors --parameters .5 --device gpu", "device = 'gpu' cannot be used"),
    ("benchmark conv-lstm --device meta", "device = 'meta' computes nothing"),
    ("entanglement -o {run}/x.pdf", ".png"),
    ("export {run} -o pipe.safetensors", "cannot write pipe.safetensors: it is a pipe"),
    ("export mine.safetensors -o mine.safetensors", "it is mine.safetensors, which is an input"),
    ("predict {run} -o null.png", "it is a device"),
    ("predict {run} -o best.gif", "checkpoints/best.ckpt, which is an input"),
    ("predict {run} --video clip.gif -o clip.gif", "it is clip.gif, which is an input"),
    ("evaluate {run} --curves {run}/metrics.png", "cannot write {run}/metrics.csv: it is {run}/metrics.csv, which"),
    ("evaluate {run} --published clips.csv --curves clips.png", "clips.csv, which is an input"),
    ("compare {run} --curves hard.png", "config.yaml, which is an input"),
    ("gradients {run} -o pipe.png", "it is a pipe"),
    ("entanglement -o table.png", "cannot write table.csv: it is a pipe"),
    ("benchmark conv-lstm --output folder", "cannot write folder/loading.csv: it is a device"),
    ("evaluate {run} --count abc", "zoo: --count = 'abc'; a whole number is needed"),
    ("evaluate {run} --count 2.5", "zoo: --count = 2.5; a whole number is needed"),
    ("evaluate {run} --batch x", "zoo: --batch = 'x'; a whole number is needed"),
    ("evaluate {run} --windows x", "zoo: --windows = 'x'; one of 'predrnn', 'mcnet', 'conv-tt-lstm' is needed"),
    ("train conv-lstm moving-mnist --training 5", "--training = '5' is neither a file of settings nor settings, as in"),
    ("train conv-lstm moving-mnist --training [1", "--training = '[1' cannot be read as YAML: while parsing"),
    ("train conv-lstm moving-mnist --options.hidden 4", "--options.hidden = 4; a list is needed, such as '[4, 4]'"),
    ("train conv-lstm moving-mnist --training.clip_norm nan", "--training.clip_norm = nan; a finite number is needed"),
    ("train conv-lstm moving-mnist --data.endless x", "zoo: --data.endless = 'x'; true or false is needed"),
    ("compare", "zoo: RUNS is required; see `zoo compare --help`"),
    ("compress", "zoo: MODEL and --output are required; see `zoo compress --help`"),
    ("data cifar", "cifar"),
    ("trane", "trane"),
    ("train traj-gru moving-mnist --sampling.stop 5", "traj-gru reads no frames after the observed ones"),
    ("train -o traj-gru conv-lstm moving-mnist --sampling.until 5", "--sampling.until 5; `zoo train --help` lists"),
    (
        "train fc-lstm moving-mnist --options.conditioned true --sampling.k 5",
        "--sampling.k 5; `zoo train --help` lists",
    ),
    ("compare traj-gru --sampling.stop 5", "--sampling.stop 5; `zoo compare --help` lists"),
    ("train tt-lstm lorenz --options.canvas 2", "tt-lstm reads series, which have no patches, canvas or channels"),
    ("train conv-lstm moving-mnist --options.canvas 2", "--options.canvas 2; `zoo train --help` lists"),
    ("", "command"),
]


def odd_files(folder: Path) -> None:
    """Pipes, devices, and links to what a command reads; made once."""
    if (folder / "folder").exists():
        return
    for name in ("pipe.safetensors", "pipe.png", "table.csv"):
        os.mkfifo(folder / name)
    (folder / "null.png").symlink_to("/dev/null")
    (folder / "best.gif").symlink_to("conv-lstm/checkpoints/best.ckpt")
    os.link(folder / "conv-lstm" / "config.yaml", folder / "hard.png")
    for name in ("mine.safetensors", "clip.gif", "clips.csv"):
        (folder / name).touch()
    np.save(folder / "short.npy", np.zeros((5, 28, 28), np.uint8))
    (folder / "folder").mkdir()
    (folder / "folder" / "loading.csv").symlink_to("/dev/null")


@pytest.mark.parametrize(("line", "words"), BAD, ids=[line for line, _ in BAD])
def test_bad_input_is_one_line_and_status_two(
    line: str, words: str, trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained)
    odd_files(trained)
    (trained / "no.txt").write_text("no")
    (trained / "no.txt.safetensors").write_text("no")
    before = {path for path in trained.rglob("*") if "lightning" not in str(path)}
    data = f" --data-root {trained}" if line.partition(" ")[0] in ("train", "evaluate", "predict", "gradients") else ""
    assert run_command(*(line.format(run=trained / "conv-lstm", text=trained / "no.txt") + data).split()) == 2
    err = capsys.readouterr().err
    message = err.strip().splitlines()[-1]
    assert message.startswith("zoo: ")
    assert words.format(run=trained / "conv-lstm") in message
    assert "Traceback" not in err
    assert {path for path in trained.rglob("*") if "lightning" not in str(path)} == before


def test_a_configuration_imports_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proof = tmp_path / "proof"
    for text in (
        f"training:\n  class_path: subprocess.Popen\n  init_args:\n    args: touch {proof}\n",
        f"training: !!python/object/apply:os.system ['touch {proof}']\n",
        f"options: !!python/object/apply:os.system ['touch {proof}']\n",
    ):
        (tmp_path / "evil.yaml").write_text(text)
        assert run_command("train", "conv-lstm", "moving-mnist", "--config", tmp_path / "evil.yaml") == 2
        assert capsys.readouterr().err.startswith("zoo: ")
    assert not proof.exists()
