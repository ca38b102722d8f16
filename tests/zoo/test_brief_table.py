"""The program that turns trainings by the preset `brief` into weights, cards, rows and curves."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import zoo
from tests.benchmarks import brief
from tests.support.documents import ROOT
from tests.support.runs import RECIPE
from zoo.model_files.pretrained import load_weights
from zoo.training import fit, open_run
from zoo.training.run_folder import Run

FEW = brief.Clips(digits=2, embedded=2, longer=2, three=2)


@pytest.fixture
def places(tmp_path: Path) -> brief.Places:
    """Copies of the table and of the curves."""
    for name in ("docs/results/moving-mnist-brief.csv", "assets/moving-mnist-brief-curves.csv"):
        shutil.copy(ROOT / name, tmp_path)
    table, curves = tmp_path / "moving-mnist-brief.csv", tmp_path / "moving-mnist-brief-curves.csv"
    return brief.Places(tmp_path, table, curves, tmp_path / "picture.png")


def run(name: str, **training: float) -> Run:
    """As if it had been trained by the preset, with these settings of the training instead of the preset's."""
    recipe = zoo.recipe(name, "brief")
    recipe = replace(recipe, training=replace(recipe.training, **training))
    return Run(Path("runs") / name, recipe, zoo.create_model(name, **recipe.options).eval(), 1200)


def rows(path: Path) -> dict[str, list[str]]:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return {cells[0]: cells[1:] for cells in csv.reader(lines)}


@pytest.mark.filterwarnings("ignore:.*embedded")
def test_a_training_becomes_weights_card_row_and_curves(
    places: brief.Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brief, "training_minutes", lambda recipe, root: 48.6)
    for trained, parameters, loss, ships in (
        (run("dfn"), "92,421", "mean squared error", True),
        (run("mcnet", l2=0.0, cross_entropy=1.0), "1,378,041", "cross-entropy", False),
    ):
        model = trained.recipe.model
        before = rows(places.table)
        measured = brief.publish(trained, places, str(tmp_path), FEW)
        after = rows(places.table)
        ours = after[model]
        assert {**after, model: []} == {**before, model: []}
        names = list(after)
        assert names.index("blank frame") < names.index(model) < names.index("conv-lstm")
        mse = measured.digits.average["mse"]
        assert ours[:4] == [parameters, "49", f"{1e3 * mse:.2f}", f"{4096 * mse:.1f}"]
        assert ours[-1] == ("yes" if ships else "no")
        with places.curves.open() as file:
            errors = [one for one in csv.DictReader(file) if one["model"] == model and one["metric"] == "mse"]
        assert [float(one["value"]) for one in errors] == measured.longer.per_frame["mse"].tolist()

        text = (tmp_path / f"{model}.moving-mnist-brief.md").read_text()
        results = yaml.safe_load(text.split("---\n")[1])["model-index"][0]["results"]
        assert [one["dataset"]["type"][-1] for one in results] == ["2", "2", "2", "3"]
        assert results[0]["metrics"][0]["value"] == pytest.approx(mse, rel=1e-4)
        assert ('pretrained="moving-mnist-brief"' in text) == ships
        assert ("The package does not contain these weights" in text) != ships
        changed = "" if ships else " --training.l2 0 --training.cross_entropy 1"
        assert f"zoo train {model} moving-mnist --preset brief{changed} -o runs/{model}" in text
        assert f"{loss} over all predictions" in " ".join(text.split())
        weights = tmp_path / f"{model}.moving-mnist-brief.safetensors"
        if ships:
            test = zoo.MovingMNIST("test", root=tmp_path, source="embedded")
            again = zoo.evaluate(load_weights(weights)[0], test, metrics=["mse"], count=2)
            assert again.average["mse"] == pytest.approx(mse, rel=1e-6)
            weights.unlink()
        else:
            assert not weights.exists()


def test_a_training_with_other_settings_is_refused() -> None:
    recipe = zoo.recipe("dfn", "brief")
    brief.check_brief(Run(Path("run"), replace(recipe, data=replace(recipe.data, source="mnist")), None, 0))  # type: ignore[arg-type]
    for other in (
        replace(recipe, options={"widths": [20, 40, 80]}),
        replace(recipe, training=replace(recipe.training, seed=1)),
        replace(recipe, data=replace(recipe.data, digits=3)),
    ):
        with pytest.raises(SystemExit, match=r"run: .* and the table needs"):
            brief.check_brief(Run(Path("run"), other, None, 0))  # type: ignore[arg-type]
    with pytest.raises(SystemExit, match=r"training.l2 = 1.0, and the table needs 0.0"):
        brief.check_brief(run("mcnet"))


def test_what_is_not_finished_is_left_out(tmp_path: Path) -> None:
    assert not brief.finished(tmp_path)
    training = replace(RECIPE.training, steps=2, validate_every=2, save_every=0)
    fit(replace(RECIPE, training=training), tmp_path / "run", progress=False)
    assert brief.finished(tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace("steps: 2", "steps: 3"))
    assert open_run(tmp_path / "run", "last").recipe.training.steps == 3
    assert not brief.finished(tmp_path / "run")
