"""The weights that ship: each has a card, and the card's numbers are found again: on embedded digits always, on KTH's
clips where they are."""

import csv
import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import zoo
from tests.support.deep import leave_to_deep_tests
from zoo.data import PublishedMovingMNIST, prepare_kth
from zoo.data.array_files import open_array_file
from zoo.errors import ZooError
from zoo.evaluation import Scores
from zoo.model_files.pretrained import FOLDER, load_pretrained, load_weights, pretrained_names, save_weights
from zoo.names import check_picture
from zoo.settings import from_plain, to_plain

CARDS = [card for card in sorted(FOLDER.glob("*.md")) if card.with_suffix(".safetensors").exists()]
RETRAINED = [card for card in sorted(FOLDER.glob("*.md")) if card not in CARDS]
METRICS = ("mse", "mae", "psnr", "ssim")
FAMILY = ("conv-lstm", "conv-tt-lstm-sw", "predrnn", "causal-lstm", "predrnn-pp")
FIRST = tuple(f"{name}." for name in FAMILY)
MEASURED = ("conv-lstm-2015.moving-mnist-brief", "conv-tt-lstm-sw.moving-mnist-brief")  # the others take longer
FILMED = ("conv-lstm", "conv-tt-lstm-sw", "predrnn-pp")


def test_every_set_of_weights_has_a_card_and_is_small() -> None:
    weights = sorted(FOLDER.glob("*.safetensors"))
    assert [path.stem for path in weights] == [path.stem for path in CARDS]
    names = [path.stem for path in weights]
    assert {f"{name}.moving-mnist-small" for name in ("conv-lstm", "conv-tt-lstm-sw")} <= set(names)
    assert "conv-tt-lstm-sw.moving-mnist-long" in names
    assert {f"{name}.moving-mnist-brief" for name in FAMILY} <= set(names)
    assert {f"{name}.kth-small" for name in FILMED} <= set(names)
    added = [path for path in weights if path.stem.endswith(".moving-mnist-brief") and not path.stem.startswith(FIRST)]
    assert sum(path.stat().st_size for path in set(weights) - set(added)) <= 24_000_000
    assert sum(path.stat().st_size for path in added) <= 8_000_000


def test_a_card_of_weights_that_do_not_ship_says_how_to_train_them() -> None:
    for card in RETRAINED:
        name, weights = card.stem.split(".")
        assert weights == "moving-mnist-brief"
        assert f"zoo train {name} moving-mnist --preset brief" in card.read_text()
        assert "The package does not contain these weights" in card.read_text()


def test_the_table_marks_the_weights_that_do_not_ship() -> None:
    table = FOLDER.parents[1] / "docs" / "results" / "moving-mnist-brief.csv"
    rows = list(csv.DictReader(line for line in table.open() if not line.startswith("#")))
    ships = {row["network"]: row["weights ship"] for row in rows if row["parameters"]}
    assert ships == {
        card.stem.split(".")[0]: "yes" if card in CARDS else "no"
        for card in CARDS + RETRAINED
        if card.stem.endswith(".moving-mnist-brief")
    }


@pytest.mark.parametrize("card", [card for card in CARDS if "lorenz" not in card.stem], ids=lambda path: path.stem)
def test_the_cards_numbers_on_embedded_digits(card: Path, tmp_path: Path) -> None:
    if card.stem not in MEASURED:
        leave_to_deep_tests("two sets of weights are measured; all of them")
    row = re.search(r"\| embedded test digits[^|]* \| (\d+) \|(.*)\|\n", card.read_text())
    assert row is not None
    model, recipe = load_pretrained(*card.stem.split(".", 1))
    test = zoo.MovingMNIST("test", source="embedded", root=tmp_path, size=recipe.data.size)
    scores = zoo.evaluate(model, test, metrics=METRICS, count=int(row[1]))
    assert in_units(scores) == pytest.approx(numbers(row[2]), rel=2e-3)


@pytest.mark.parametrize("card", [card for card in CARDS if "lorenz" in card.stem], ids=lambda path: path.stem)
def test_the_cards_numbers_on_series(card: Path) -> None:
    row = re.search(r"\| Lorenz test series \| 200 \|(.*)\|\n", card.read_text())
    assert row is not None
    model, recipe = load_pretrained(*card.stem.split(".", 1))
    test = zoo.Lorenz("test", length=recipe.data.observed + 40)
    scores = zoo.evaluate(model, test, 40, observed=recipe.data.observed, count=200, batch=200)
    assert scores.per_frame["rmse"][[0, 1, 4, 9, 19, 39]] == pytest.approx(numbers(row[1]), rel=5e-3)


def test_the_cards_numbers_on_kth(tmp_path: Path, data_root: Path) -> None:
    leave_to_deep_tests("measured")
    prepare_kth(tmp_path, data_root / "kth", progress=False)
    for name in FILMED:
        row = re.search(r"\| 10→20 \| (\d+) \|(.*)\|\n", (FOLDER / f"{name}.kth-small.md").read_text())
        assert row is not None
        model, recipe = load_pretrained(name, "kth-small")
        test = zoo.KTH("test", root=tmp_path, windows=recipe.data.windows, length=30)
        if len(test) != int(row[1]):
            pytest.skip(f"{len(test)} test windows in {data_root}; the card's numbers are of {row[1]}")
        scores = zoo.evaluate(model, test, 20, metrics=METRICS)
        assert in_units(scores) == pytest.approx(numbers(row[2])[: len(METRICS)], rel=2e-3)


def numbers(cells: str) -> list[float]:
    return [float(cell) for cell in cells.split("|")]


def in_units(scores: Scores) -> list[float]:
    """As a card prints them."""
    units = {measure.key: measure.scale for measure in scores.convention.measures}
    return [scores.average[key] * units[key] for key in METRICS]


def test_weights_come_back_with_their_recipe(tmp_path: Path) -> None:
    recipe = zoo.recipe("conv-lstm", "demo", options={"hidden": [2], "layers": [1]})
    model = zoo.create_model(recipe.model, **recipe.options)
    save_weights(tmp_path / "w.safetensors", model, recipe)
    again, recipe_again = load_weights(tmp_path / "w.safetensors")
    assert recipe_again == recipe
    assert not again.training
    x = torch.rand(1, 2, 1, 8, 8)
    assert torch.equal(again(x, 2), model(x, 2))


@pytest.mark.parametrize("card", CARDS, ids=lambda path: path.stem)
def test_what_ships_is_in_half_precision_and_becomes_a_model_in_single(card: Path) -> None:
    with safe_open(card.with_suffix(".safetensors"), framework="pt") as file:
        written = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    assert {tensor.dtype for tensor in written.values()} == {torch.float16}
    model, recipe = load_pretrained(*card.stem.split(".", 1))
    assert from_plain(to_plain(recipe), "here") == recipe
    for name, weight in model.state_dict().items():
        assert weight.dtype == torch.float32
        assert weight.is_contiguous()
        assert torch.equal(weight, written[name].float())


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.stem)
def test_what_ships_names_no_folder_of_its_makers(card: Path) -> None:
    recipe = load_weights(card.with_suffix(".safetensors"))[1]
    assert recipe.origin.run == ""
    assert "/" not in recipe.origin.weights


def test_the_layout_in_memory_is_not_written(tmp_path: Path) -> None:
    recipe = zoo.recipe("conv-lstm", "demo", options={"hidden": [2], "layers": [1]})
    model = zoo.create_model(recipe.model, **recipe.options)
    save_weights(tmp_path / "a.safetensors", model, recipe)
    save_weights(tmp_path / "b.safetensors", model.to(memory_format=torch.channels_last), recipe)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_the_default_weights() -> None:
    defaults = {"conv-tt-lstm-sw": "long", "conv-lstm": "small", "predrnn-pp": "brief"}
    for model, name in ((model, f"moving-mnist-{name}") for model, name in defaults.items()):
        default, named = (zoo.create_model(model, pretrained=value).state_dict() for value in (True, name))
        assert all(torch.equal(default[key], named[key]) for key in named)
    assert zoo.pretrained_names("conv-lstm") == ["kth-small", "moving-mnist-brief", "moving-mnist-small"]
    with pytest.raises(ZooError, match=r"no weights ship for conv-tt-lstm-fw; .* predrnn-pp: kth-small, moving"):
        zoo.create_model("conv-tt-lstm-fw", pretrained=True)
    assert zoo.create_model("conv-lstm", pretrained=False, hidden=[2], layers=[1]).training
    with pytest.raises(ZooError, match="'kernel'] are passed with pretrained = True"):
        zoo.create_model("conv-lstm", pretrained=True, kernel=3)


def test_bad_weights(tmp_path: Path) -> None:
    recipe = zoo.recipe("conv-lstm", "demo", options={"hidden": [2], "layers": [1]})
    other = zoo.create_model("conv-lstm", hidden=[3], layers=[1])
    save_weights(tmp_path / "other.safetensors", other, recipe)
    with pytest.raises(ZooError, match="weights of another model"):
        load_weights(tmp_path / "other.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "other.safetensors").read_bytes()[:50])
    with pytest.raises(ZooError, match="cannot be read"):
        load_weights(tmp_path / "cut.safetensors")
    with pytest.raises(ZooError, match="cannot be read"):
        load_weights(tmp_path / "none.safetensors")


def test_unknown_weights_suggest_the_nearest() -> None:
    name = pretrained_names("conv-lstm")[0]
    with pytest.raises(ZooError, match=f"did you mean '{name}'"):
        load_pretrained("conv-lstm", name[:-1])
    with pytest.raises(ZooError, match="models with weights are"):
        zoo.create_model("conv-tt-lstm-fw", pretrained="moving-mnist-small")
    with pytest.raises(ZooError, match="whose options are fixed"):
        zoo.create_model("conv-lstm", pretrained=name, kernel=3)


@pytest.mark.parametrize("value", [5, b"run", ["run"], 2.5], ids=["number", "bytes", "list", "fraction"])
def test_what_is_no_path_is_refused_by_name(value, tmp_path) -> None:
    for name, call in {
        "pretrained": lambda: zoo.create_model("conv-lstm", pretrained=value),
        "folder": lambda: zoo.open_run(value),
        "checkpoint": lambda: zoo.open_run(tmp_path, value),
        "path": lambda: Scores.load(value),
        "root": lambda: zoo.MovingMNIST("test", root=value),
        "source": lambda: prepare_kth(tmp_path, source=value),
    }.items():
        with pytest.raises(ZooError, match=rf"^{name} = .* must be a path: a str or a pathlib\.Path$"):
            call()
    with pytest.raises(ZooError, match=r"folder = .* must be a path"):
        zoo.Videos(value)
    with pytest.raises(ZooError, match=r"pattern = .* must be a text"):
        zoo.list_models(value)
    for read in (load_weights, open_array_file, PublishedMovingMNIST, check_picture):
        with pytest.raises(ZooError, match=r"^path = .* must be a path"):
            read(value)
    with pytest.raises(ZooError, match="no model 'conv-lsm'; did you mean 'conv-lstm'"):
        pretrained_names("conv-lsm")
