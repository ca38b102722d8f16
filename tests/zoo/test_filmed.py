"""Training on KTH and on a folder of videos, and looking at the runs, as a user types it."""

import csv
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import zoo
from tests.support.runs import last, rows, run_command, same
from tests.support.videos import make_kth, write_video
from zoo.data import prepare_kth
from zoo.errors import ZooError
from zoo.settings import Recipe

TINY = {"hidden": [2], "layers": [1], "kernel": 3, "patch": 4}
DATA = {"size": 16, "length": 6, "observed": 3}
QUICK = {
    "steps": 3,
    "batch_size": 2,
    "validate_every": 1,
    "validation_clips": 3,
    "precision": "64-true",
    "accelerator": "cpu",
}


def words(part: str, settings: dict) -> list[str]:
    """Settings as a user types them."""
    return [f"--{part}.{name}={value}" for name, value in settings.items()]


WORDS = [*words("options", TINY), *words("data", DATA), *words("training", QUICK)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with a small store of KTH, and films beside it."""
    root = tmp_path_factory.mktemp("root")
    prepare_kth(root, make_kth(root / "original"), size=16, progress=False)
    for i in range(6):
        write_video(root / "films" / f"{i}.avi", 30 + i)
    return root


@pytest.fixture(scope="module")
def kth_run(root: Path) -> Path:
    """A run on KTH."""
    line = [
        "train",
        "conv-lstm",
        "kth",
        *WORDS,
        "--data.validation_persons=[15]",
        "--data-root",
        root,
        "-o",
        root / "kth-run",
    ]
    assert run_command(*line) == 0
    return root / "kth-run"


def kth_recipe(**data: object) -> Recipe:
    """What `kth_run` asked for."""
    return zoo.recipe(
        "conv-lstm", "small", TINY, "kth", data={**DATA, "validation_persons": [15], **data}, training=QUICK
    )


def test_a_run_on_kth_records_its_clips(kth_run: Path) -> None:
    config = yaml.safe_load((kth_run / "config.yaml").read_text())
    data = config["data"]
    assert (data["name"], data["size"], data["validation_persons"], data["windows"]) == ("kth", 16, [15], "predrnn")
    assert config["options"]["sigmoid"] is True
    session = yaml.safe_load((kth_run / "versions.json").read_text())[0]
    assert session["data"][0].startswith("KTH train, persons 1–14, 16 (2 of 359 clips)")
    assert session["data"][1].startswith("KTH val, person 15 (1 of 24 clips), windows by predrnn: 7 clips of 6 frames")


def test_python_gives_the_same_run_and_resumes_it(kth_run: Path, root: Path, tmp_path: Path) -> None:
    recipe = kth_recipe()
    stopped = replace(recipe, training=replace(recipe.training, max_time=1e-6))
    assert zoo.fit(stopped, tmp_path / "run", root=root, progress=False).step < 3
    assert zoo.fit(recipe, tmp_path / "run", root=root, progress=False).step <= 3
    assert len(yaml.safe_load((tmp_path / "run" / "versions.json").read_text())) == 2
    assert same(*({**last(run), "options": {}} for run in (tmp_path / "run", kth_run)))
    assert rows(tmp_path / "run") == rows(kth_run)


def test_a_run_does_not_resume_with_other_files(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "kth", tmp_path / "kth")
    moved = replace(kth_recipe(), training=replace(kth_recipe().training, max_time=1e-6))
    zoo.fit(moved, tmp_path / "run", root=root, progress=False)
    zoo.fit(moved, tmp_path / "run", root=tmp_path, progress=False)  # the same files elsewhere
    write_video(root / "original" / "person02_running_d1_uncomp.avi", 41)
    prepare_kth(tmp_path, root / "original", size=16, progress=False)
    with pytest.raises(ZooError, match=r"the clips of kth have changed since the run in .* started; restore them"):
        zoo.fit(moved, tmp_path / "run", root=tmp_path, progress=False)


@pytest.mark.parametrize("form", ["films", "absolute"])
def test_a_run_on_videos_in_colour_is_measured_and_drawn(
    form: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    folder = "films" if form == "films" else str(root / "films")
    line = ["train", "conv-tt-lstm-sw", f"videos:{folder}", "--preset=demo", *WORDS, "--data-root", tmp_path]
    assert run_command(*line, "--options.channels=3", "--data.channels=3") == 0
    run = next(Path("runs").iterdir())
    assert run.name == f"conv-tt-lstm-sw-videos-{folder.replace('/', '-').strip('-')}-demo"
    monkeypatch.chdir(tmp_path)
    recipe = zoo.open_run(root / "runs" / run.name).recipe
    assert (recipe.data.name, recipe.data.channels) == (f"videos:{root}/films", 3)
    look = [root / "runs" / run.name, "--horizon=3", "--data-root", tmp_path]
    assert run_command("evaluate", *look) == 0
    assert run_command("predict", *look, "-o", "picture.png") == 0
    assert run_command("predict", *look, "-o", "film.png", "--video", root / "films" / "0.avi") == 0
    shutil.rmtree(root / "runs")


def test_videos_that_are_left_out_are_named(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(root / "films", "films")
    Path("films/[bold]notes.mp4").write_text("no video")
    Path("films/readme.txt").write_text("no video either")
    write_video(Path("films/short.avi"), 3)
    assert run_command("data", "videos:films", "--size=16", "--data-root", "here") == 0
    out = capsys.readouterr().out
    assert re.search(r"films-\w+-16x16-grey: 7 videos, 198 frames, digest \w{64}\n", out)
    assert "left out: [bold]notes.mp4 cannot be read as a video" in out
    assert "too short: short.avi has 3 frames, but a clip needs 20\n" in out
    assert "neither videos nor images by their names: 1 .txt\n" in out
    assert sum(int(count) for count in re.findall(r"(?:train|val|test): (\d+) videos?, \d+ positions? of 20", out)) == 7
    stored = list(Path("here/videos").glob("*/*.npy"))
    assert len(stored) == 7
    before = [path.stat().st_mtime_ns for path in stored]
    assert run_command("train", "conv-lstm", "videos:films", *WORDS, "--data-root", "here") == 0
    said = capsys.readouterr().out
    assert "left out: [bold]notes.mp4 cannot be read as a video" in said
    assert said.count("left out:") == 1 + ("left out: short.avi has 3 frames, but a clip needs 6" in said)
    assert [path.stat().st_mtime_ns for path in stored] == before  # what was prepared is used


@pytest.mark.parametrize(("horizon", "clips"), [(3, "23 clips of 6 frames"), (27, "6 clips of 30 frames")])
def test_evaluate_takes_the_test_persons_at_any_horizon(
    kth_run: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], horizon: int, clips: str
) -> None:
    look = [kth_run, f"--horizon={horizon}", "--data-root", root]
    assert run_command("evaluate", *look, "--curves", tmp_path / "values.png") == 0
    said = capsys.readouterr().err
    assert f"KTH test, persons 17–25 (2 of 216 clips), windows by predrnn: {clips}" in said
    rows = list(csv.DictReader((tmp_path / "values.csv").open()))
    assert sum(row["model"] == "kth-run" and row["metric"] == "psnr" for row in rows) == horizon
    assert run_command("evaluate", *look, "--windows=conv-tt-lstm") == 0
    assert "windows by conv-tt-lstm" in capsys.readouterr().err


def test_pictures_and_gradients_are_drawn(kth_run: Path, root: Path, tmp_path: Path) -> None:
    for command in ("predict", "gradients"):
        look = [kth_run, "--horizon=4", "--windows=mcnet", "--data-root", root, "-o", tmp_path / f"{command}.png"]
        assert run_command(command, *look) == 0
        assert (tmp_path / f"{command}.png").read_bytes().startswith(b"\x89PNG")


def test_two_models_of_kth_are_drawn_side_by_side(kth_run: Path, root: Path, tmp_path: Path) -> None:
    shutil.copytree(kth_run, tmp_path / "copy")
    look = ["--horizon=4", "--data-root", root, "-o", tmp_path / "two.png"]
    assert run_command("predict", kth_run, tmp_path / "copy", *look) == 0
    assert (tmp_path / "two.png").read_bytes().startswith(b"\x89PNG")


def test_compare_measures_at_several_horizons(
    kth_run: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    look = [kth_run, "--horizon", "3", "7", "--data-root", root, "--curves", tmp_path / "curves.png"]
    assert run_command("compare", *look, "--layout=conv-tt-lstm") == 0
    out = capsys.readouterr().out
    assert "Measured kth, 16×16 3→3:" in out
    assert "Measured kth, 16×16 3→7:" in out
    for published in ("MCNet", "25.95", "133.4", "211.8"):
        assert published in out
    assert (tmp_path / "curves.png").exists()


def test_the_published_size_takes_its_place_in_the_table(root: Path, tmp_path: Path) -> None:
    prepare_kth(tmp_path, root / "original", progress=False)
    model = zoo.create_model("conv-lstm", **TINY, sigmoid=True)
    test = zoo.data.KTH("test", root=tmp_path, length=30)
    scores = [zoo.evaluate(model, test, 20, metrics=["psnr", "ssim"], count=1)]
    for layout, several in (("conv-tt-lstm", True), ("predrnn-pp", False)):
        table = zoo.evaluation.compare(scores, layout)
        assert table.columns[2].heading == ("10→20\nPSNR ↑\ndB" if several else "PSNR ↑\ndB")
        assert any(note.startswith("Measured 10→20:") for note in table.notes)
        assert len(table.columns) == 2 + (6 if several else 2) + 1
        assert table.rows[0][2] == f"{scores[0].average['psnr']:.2f}"
        assert "was measured in a different way" in " ".join(table.notes)
    alike = [zoo.evaluate(model, test, 20, convention="predrnn-pp", metrics=["psnr"], count=1)]
    assert "was measured in a different way" not in " ".join(zoo.evaluation.compare(alike, "predrnn-pp").notes)


def test_moving_mnist_is_prepared_by_the_name_that_other_commands_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("moving-mnist", "mnist"):
        assert run_command("data", name, "--data-root", tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == lines[3:]
    assert lines[0].startswith("Moving-MNIST train: 10,000 clips of 20 frames 64×64")


BAD = [
    ("train conv-lstm kht", "did you mean 'kth'"),
    ("train conv-lstm videos", "did you mean 'videos:DIR'"),
    ("train conv-lstm videos:", "no data set 'videos:'"),
    ("train conv-lstm videos:nowhere", "is not a folder; name one with videos"),
    ("data videos:nowhere", "is not a folder; name one with videos"),
    ("data images:nowhere", "is not a folder; name one with images, as in images:DIR"),
    ("data videos:", "no data set 'videos:'"),
    ("data kht", "did you mean 'kth'"),
    ("data moving-mnist --size 32", "--size is an option of kth, videos, images and arrays"),
    ("data moving-mnist:films", "no data set 'moving-mnist:films'"),
    ("data videos:films --data.length 6 --data.observed 8", "data.length = 6 must exceed data.observed = 8, or no"),
    ("train conv-lstm videos:films --data.length 6 --data.observed 8", "data.length = 6 must exceed data.observed = 8"),
    ("data kth:films", "no data set 'kth:films'"),
    ("data videos:films --size 0", "size = 0 must be at least 1"),
    ("data videos:films --channels 2", "channels"),
    ("data videos:films --check", "--source and --check are options of kth"),
    ("data videos:films --download", "--download is an option of mnist and kth"),
    ("data kth --channels 3", "--channels is an option of videos, images and arrays"),
    ("data mnist --size 32", "--size is an option of kth, videos, images and arrays"),
    ("train conv-lstm videos:films --preset paper", "no settings are published for videos:films"),
    ("train conv-lstm kth --data.name moving-mnist", "data.name = 'moving-mnist' differs from the data set 'kth'"),
    ("train conv-lstm kth", "prepare it with: zoo data kth --size 128"),
    ("train conv-lstm kth --data.size 18", "frames of 18×18 pixels cannot be divided into blocks of 4×4"),
    ("train conv-lstm kth --data.channels 3", "--data.channels"),  # only videos may have colours
    ("train conv-lstm kth --options.channels 3", "data.channels = 1, but conv-lstm reads 3"),
    ("train conv-lstm videos:films --data.channels 3", "data.channels = 3, but conv-lstm reads 1"),
    ("train conv-lstm videos:films --data.channels 2", "data.channels"),
    ("train conv-lstm kth --data.size 16 --data.validation_persons [17]", "validation_persons = [17]"),
    (
        "train conv-lstm kth --data.size 16 --data.validation_persons [3]",
        "no clips of person 3 (val), only of persons 1–2, 15, 17, 20",
    ),
    ("train conv-lstm kth --data.size 16 --data.validation_persons nine", "data.validation"),
    ("train conv-lstm kth --data.size 16 --data.windows mcnets", "data.windows"),
    (
        "train conv-lstm kth --data.size 16 --data.length 50",
        "no clip has 50 frames; use a smaller length (data.length, which is",
    ),
    ("evaluate {run} --digits 3", "--digits is an option of moving-mnist, but the clips are of kth"),
    ("evaluate {run} --windows mcnets", "windows"),
    ("evaluate {run} --horizon 90", "no clip has 93 frames"),
    ("evaluate conv-lstm:moving-mnist-small --windows mcnet", "--windows is an option of kth"),
    ("compare {run} --horizon 3 three", "horizon"),
    ("compare {run} --horizon 3 --layout table-4", "no layout 'table-4'"),
]


@pytest.mark.parametrize(("line", "said"), BAD, ids=[line for line, _ in BAD])
def test_bad_input_is_one_line_and_status_two(
    line: str, said: str, kth_run: Path, root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    before = set(root.rglob("*"))
    assert run_command(*line.format(run=kth_run).split(), "--data-root", root) == 2
    err = capsys.readouterr().err
    assert err.strip().splitlines()[-1].startswith("zoo: ")
    assert said in err.strip().splitlines()[-1]
    assert "Traceback" not in err
    assert set(root.rglob("*")) == before
