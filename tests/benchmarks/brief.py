"""From finished trainings to what is shown of them: weights, cards, table, curves and picture of the preset `brief`.

    OMP_NUM_THREADS=1 zoo train MODEL moving-mnist --preset brief -o runs/brief/MODEL      (for each MODEL)
    (mcnet with the options of its card besides: --training.l2 0 --training.cross_entropy 1)
    OMP_NUM_THREADS=1 python -m tests.benchmarks.brief runs/brief --data-root DATA
    python docs/drawings.py                                                               (draws the curves)

The second command looks at every folder of `runs/brief`. It leaves out the trainings that are not finished, and those
whose row is in the table, unless `--again` names them. Of the others it writes the card and the row, and for the models
of `SHIPPED` the weights, in half precision; then it draws the picture of all networks that it can open.
"""

import argparse
import csv
import io
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

import zoo
from tests.benchmarks.brief_card import CARD_METRICS, WEIGHTS, Measured, card, per_frame
from tests.benchmarks.tables import machine
from zoo.benchmark.setup import make_trial
from zoo.data import MovingMNIST
from zoo.evaluation import CopyLast, Scores, predict
from zoo.files import aside
from zoo.model_files.pretrained import load_pretrained, pretrained_names, save_weights
from zoo.predictors.predictor import Predictor
from zoo.registry import find_model
from zoo.settings import Recipe, to_plain
from zoo.training import open_run
from zoo.training.run_folder import Run

ROOT = Path(__file__).parents[2]
# The order of the table: systems that both papers compare with, then the two papers' own.
ORDER = (
    *("fc-lstm", "conv-lstm-2015", "conv-gru", "traj-gru", "cdna", "dfn", "vpn-baseline", "mcnet", "e3d-lstm"),
    *("conv-lstm", "conv-tt-lstm-sw", "conv-tt-lstm-fw"),
    *("predrnn", "causal-lstm-s2t", "causal-lstm", "predrnn-ghu", "predrnn-pp"),
)
# Those whose weights are in the package. The first five have been there; the others add less than 8 MB.
SHIPPED = ("conv-lstm", "conv-tt-lstm-sw", "predrnn", "causal-lstm", "predrnn-pp") + (
    "conv-lstm-2015",
    "traj-gru",
    "dfn",
    "predrnn-ghu",
)
CLIP = 3  # the test clip of the picture


@dataclass(frozen=True)
class Places:
    """Where the files are written."""

    weights: Path = ROOT / "zoo" / "weights"
    table: Path = ROOT / "docs" / "results" / f"{WEIGHTS}.csv"
    curves: Path = ROOT / "assets" / f"{WEIGHTS}-curves.csv"
    picture: Path = ROOT / "assets" / f"{WEIGHTS}.png"


@dataclass(frozen=True)
class Clips:
    """How many test clips are measured."""

    digits: int = 500
    embedded: int = 16
    longer: int = 200
    three: int = 500


def finished(folder: Path) -> bool:
    """Whether the training in a folder has taken all steps of its recipe."""
    metrics = folder / "metrics.csv"
    if not metrics.exists():
        return False
    rows = list(csv.DictReader(metrics.open()))
    return bool(rows) and int(rows[-1]["step"]) == open_run(folder, "last").recipe.training.steps


def check_brief(run: Run) -> None:
    """Refuse a training with other settings than those of the preset `brief`.

    A network that learns nothing from digits by the squared error has the loss of its other presets.

    Raises:
        SystemExit: a setting differs that changes what is computed.
    """
    theirs = to_plain(run.recipe)
    preset = to_plain(zoo.recipe(run.recipe.model, "brief"))
    free = {"source", "accelerator"}  # where the digits and the device come from
    for part, settings in preset.items():
        if part == "training":
            settings = settings | find_model(run.recipe.model).presets.digits
        pairs = {part: settings} if isinstance(settings, str) else settings
        own = {part: theirs[part]} if isinstance(settings, str) else theirs[part]
        for key, value in pairs.items():
            if key not in free and own.get(key) != value:
                raise SystemExit(f"{run.folder}: {part}.{key} = {own.get(key)}, and the table needs {value}")


def rounded(model: Predictor) -> Predictor:
    """The model with its weights as they ship: rounded to float16, in single precision again."""
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_(tensor.half().float())
    return model


def training_minutes(recipe: Recipe, root: str | None) -> float:
    """Minutes of processor time for all steps: half of them with true frames, half free-running, validations left out.

    Two steps of each kind are timed, after one to warm up.
    """
    clips = zoo.data.make_dataset(recipe.data, "train", root)
    seconds = []
    for ratio in (1.0, 0.0):
        trial = make_trial(recipe, "training", clips, torch.device("cpu"), ratio)
        trial.run()
        for _ in range(2):
            start = time.process_time()
            trial.run()
            seconds.append(time.process_time() - start)
    return recipe.training.steps * sum(seconds) / len(seconds) / 60


def measure(run: Run, root: str | None, clips: Clips) -> Measured:
    """All numbers of a card and of a row of the table."""
    recipe, name = run.recipe, run.recipe.model
    model = rounded(run.model) if name in SHIPPED else run.model

    def scores(count: int, horizon: int = 10, digits: int = 2, source: str = "auto") -> Scores:
        test = MovingMNIST("test", root=root, digits=digits, length=10 + horizon, source=source)
        return zoo.evaluate(model, test, horizon, metrics=CARD_METRICS, count=count, name=name)

    return Measured(
        recipe,
        sum(parameter.numel() for parameter in model.parameters()),
        training_minutes(recipe, root),
        run.step,
        name in SHIPPED,
        digits=scores(clips.digits),
        embedded=scores(clips.embedded, source="embedded"),
        longer=scores(clips.longer, horizon=30),
        three=scores(clips.three, digits=3),
    )


def row(measured: Measured) -> list[str]:
    """The cells of a network in the table."""
    cells = [measured.recipe.model, f"{measured.parameters:,}", f"{measured.minutes:.0f}"]
    for scores in (measured.digits, measured.longer, measured.three):
        mean = scores.average
        cells += [f"{1e3 * mean['mse']:.2f}", f"{per_frame(scores):.1f}", f"{mean['ssim']:.3f}"]
    return [*cells, "yes" if measured.ships else "no"]


def write_row(cells: Sequence[str], path: Path) -> None:
    """Put a row into the table, in place of the one that it may have; the comments above stay as they are."""
    lines = path.read_text().splitlines(keepends=True)
    comments = [line for line in lines if line.startswith("#")]
    header, *rows = csv.reader(lines[len(comments) :])
    others = [one for one in rows if one[0] != cells[0]]
    ordered = sorted([*others, list(cells)], key=lambda one: ORDER.index(one[0]) if one[0] in ORDER else -1)
    _write(path, comments, [header, *ordered])


def write_curves(scores: Scores, path: Path) -> None:
    """Put the values at each predicted frame into the file of curves, in place of those that it may have."""
    header, *rows = csv.reader(path.open(newline=""))
    place = (scores.comparable_with, f"{scores.observed}", f"{scores.horizon}", scores.name)
    kept = [one for one in rows if one[3] != scores.name]
    for metric, values in scores.per_frame.items():
        kept += [[*place, metric, f"{frame}", f"{value}"] for frame, value in enumerate(values.tolist(), 1)]
    kept.sort(key=lambda one: ORDER.index(one[3]) if one[3] in ORDER else -1)  # which leaves each network's in order
    _write(path, [], [header, *kept])


def _write(path: Path, comments: Iterable[str], rows: Iterable[Sequence[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    with aside(path) as temporary:
        temporary.write_text("".join(comments) + text.getvalue())


def publish(run: Run, places: Places, root: str | None, clips: Clips) -> Measured:
    """Measure a network, and write its card, its row and its curves, and its weights if these ship."""
    check_brief(run)
    measured = measure(run, root, clips)
    name = run.recipe.model
    if measured.ships:
        save_weights(places.weights / f"{name}.{WEIGHTS}.safetensors", run.model.half(), run.recipe)
        run.model.float()
    (places.weights / f"{name}.{WEIGHTS}.md").write_text(card(measured, machine()))
    write_row(row(measured), places.table)
    write_curves(measured.longer, places.curves)
    return measured


def networks(runs: Mapping[str, Path]) -> dict[str, Predictor]:
    """The networks that can be opened, in the order of the table: from these folders, or as they ship."""
    opened: dict[str, Predictor] = {}
    for name in ORDER:
        if name in runs:
            opened[name] = open_run(runs[name]).model
        elif WEIGHTS in pretrained_names(name):
            opened[name] = load_pretrained(name, WEIGHTS)[0]
    return opened


def main(words: Sequence[str] | None = None, places: Places | None = None, clips: Clips | None = None) -> None:
    """Measure what is new in a folder of trainings, and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder with a folder for each training, named like its model")
    parser.add_argument("--data-root", help="where MNIST is")
    parser.add_argument("--again", nargs="*", default=[], metavar="MODEL", help="measure these although they are there")
    arguments = parser.parse_args(words)
    places, clips = places or Places(), clips or Clips()
    folders = {name: arguments.runs / name for name in ORDER if finished(arguments.runs / name)}
    known = {line.partition(",")[0] for line in places.table.read_text().splitlines()}
    for name, folder in folders.items():
        if name not in known or name in arguments.again:
            print(", ".join(row(publish(open_run(folder), places, arguments.data_root, clips))), flush=True)
    test = MovingMNIST("test", root=arguments.data_root)
    shown = networks(folders) | {"copy last frame": CopyLast()}
    predict(shown, test.clips([CLIP])[0]).save(places.picture)


if __name__ == "__main__":
    main()
