"""Models in folders and repositories as huggingface-hub has them, their cards, and entry points of torch.hub."""

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import zoo
from tests.support.reference import shipped_models
from zoo.errors import ZooError
from zoo.evaluation import Scores, find_convention
from zoo.model_files.cards import model_card
from zoo.model_files.pretrained import FOLDER, load_weights
from zoo.networks.stack import RecurrentStack
from zoo.networks.zigzag import Zigzag
from zoo.settings import Recipe

TINY = {"hidden": [2], "layers": [1], "kernel": 3}
SCORES = Scores(
    name="mine",
    parameters=3,
    data="two digits",
    comparable_with="moving-mnist-2",
    clips=5,
    observed=3,
    horizon=2,
    frame=(1, 8, 8),
    convention=find_convention("standard"),
    per_frame={"mse": np.array([0.1 + 0.2, 1 / 3]), "ssim": np.array([0.5, 1e-7])},
    baselines={"copy last frame": {"mse": np.array([1.0, 2.0]), "ssim": np.array([0.0, 0.5])}},
)


def tiny(name: str = "conv-lstm", **options: Any) -> Any:
    return zoo.create_model(name, **(TINY | options))


@pytest.fixture
def hub() -> Any:
    return pytest.importorskip("huggingface_hub", reason="huggingface-hub is not installed")


def numbers(card: Any) -> list[tuple[str, str, float]]:
    return [(one.metric_type, one.metric_config, one.metric_value) for one in card.data.eval_results]


# ---- cards --------------------------------------------------------------------------------------------------------


def test_a_card_gives_back_every_number(hub: Any, tmp_path: Path) -> None:
    text = model_card(Recipe("conv-lstm", dict(TINY)), 3, [SCORES])
    (tmp_path / "card.md").write_text(text, encoding="utf-8")
    card = hub.ModelCard.load(tmp_path / "card.md")
    mse, ssim = (SCORES.per_frame[name] for name in ("mse", "ssim"))
    assert numbers(card) == [
        ("mse", "average", float(mse.mean())),
        ("mse", "step 1", 0.1 + 0.2),
        ("mse", "step 2", 1 / 3),
        ("ssim", "average", float(ssim.mean())),
        ("ssim", "step 1", 0.5),
        ("ssim", "step 2", 1e-7),
    ]
    assert card.data.eval_results[0].dataset_type == "moving-mnist-2"
    card.save(tmp_path / "again.md")
    assert numbers(hub.ModelCard.load(tmp_path / "again.md")) == numbers(card)
    assert "| copy last frame | 1500.00 | 0.250 |" in text


CARDS = sorted(FOLDER.glob("*.md"))
SCALES = {"MSE ×10⁻³": 1e-3, "MAE ×10⁻³": 1e-3, "LPIPS ×10⁻³": 1e-3}


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_the_cards_that_ship_say_the_same_to_programs(path: Path, hub: Any) -> None:
    card = hub.ModelCard.load(path)
    told = [value for _, _, value in numbers(card)]
    expected: list[float] = []
    header: list[str] = []
    for line in card.text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells or cells[0].startswith("---"):
            header = header if cells else []
        elif not header:
            header = cells
        else:
            expected += [float(cell) * SCALES.get(name, 1) for name, cell in zip(header[2:], cells[2:], strict=True)]
    if match := re.search(r"For 10 → 30 frames .*?: MSE ([\d.]+) ×10⁻³, SSIM ([\d.]+)\.", " ".join(card.text.split())):
        expected += [float(match[1]) * 1e-3, float(match[2])]
    assert told == pytest.approx(expected, rel=1e-9)
    assert expected


# ---- folders ------------------------------------------------------------------------------------------------------


def test_a_model_comes_back_from_a_folder(hub: Any, tmp_path: Path) -> None:
    model = tiny()
    model.save_pretrained(tmp_path / "new" / "x", scores=[SCORES])
    assert sorted(file.name for file in (tmp_path / "new" / "x").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    again = zoo.VideoModel.from_pretrained(tmp_path / "new" / "x")
    assert type(again) is RecurrentStack
    assert not again.training
    assert again.recipe is not None
    assert again.recipe.options == TINY
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert type(RecurrentStack.from_pretrained(tmp_path / "new" / "x")) is RecurrentStack
    with pytest.raises(ZooError, match="holds a RecurrentStack, which is not a Zigzag"):
        Zigzag.from_pretrained(tmp_path / "new" / "x")
    assert load_weights(tmp_path / "new" / "x" / "model.safetensors")[1] == again.recipe
    assert len(numbers(hub.ModelCard.load(tmp_path / "new" / "x" / "README.md"))) == 6


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lstm", {}),
        ("conv-lstm", {**TINY, "channels": 2}),
        ("mcnet", {"base": 2}),
        ("dfn", {"widths": [2, 2, 2]}),
    ],
)
def test_models_of_every_kind(name: str, options: dict[str, Any], hub: Any, tmp_path: Path) -> None:
    model = zoo.create_model(name, **options)
    model.save_pretrained(tmp_path)
    assert type(type(model).from_pretrained(tmp_path)) is type(model)
    (base,) = re.findall(r"model = zoo\.(\w+)\.from_pretrained", (tmp_path / "README.md").read_text())
    assert type(getattr(zoo, base).from_pretrained(tmp_path)) is type(model)


def test_a_card_of_the_users_own_stays(hub: Any, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    tiny().save_pretrained(tmp_path)
    tiny().save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 3


def test_a_model_is_pushed(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network: what would be uploaded is a folder that can be read."""
    pushed: dict[str, Any] = {}

    def upload(self: Any, repo_id: str, folder_path: Path, revision: str | None, **others: Any) -> str:
        pushed["model"] = zoo.VideoModel.from_pretrained(folder_path)
        pushed["to"] = (repo_id, revision)
        return f"https://hub/{repo_id}"

    class Made:
        repo_id = "me/tiny"

    monkeypatch.setattr(hub.HfApi, "create_repo", lambda self, **arguments: Made)
    monkeypatch.setattr(hub.HfApi, "upload_folder", upload)
    assert tiny().push_to_hub("me/tiny", branch="next", scores=[SCORES]) == "https://hub/me/tiny"
    assert pushed["to"] == ("me/tiny", "next")
    assert type(pushed["model"]) is RecurrentStack


# ---- what is refused ----------------------------------------------------------------------------------------------


def test_without_huggingface_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    model = tiny()
    for ask in (
        lambda: model.save_pretrained(tmp_path / "x"),
        lambda: model.push_to_hub("me/x"),
        lambda: zoo.VideoModel.from_pretrained("me/x"),
    ):
        with pytest.raises(
            ZooError,
            match=r"huggingface-hub, which is not installed; install it with: pip install 'tensortrain\[hub\]'",
        ):
            ask()
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_or_written(hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    for name in ("me/none", "no/such/folder/here", "a b"):
        with pytest.raises(ZooError, match=f"{name} cannot be read"):
            zoo.VideoModel.from_pretrained(name, cache_dir=tmp_path / "cache", local_files_only=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ZooError, match=r"model\.safetensors cannot be read"):
        zoo.VideoModel.from_pretrained(tmp_path / "empty")
    tiny().save_pretrained(tmp_path / "x")
    content = bytearray((tmp_path / "x" / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "x" / "model.safetensors").write_bytes(content)
    with pytest.raises(ZooError, match="is damaged"):
        zoo.VideoModel.from_pretrained(tmp_path / "x")
    (tmp_path / "file").touch()
    with pytest.raises(ZooError, match="file cannot be created"):
        tiny().save_pretrained(tmp_path / "file")
    with pytest.raises(ZooError, match="this CopyLast has no recipe"):
        zoo.evaluation.CopyLast().save_pretrained(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


# ---- torch.hub ----------------------------------------------------------------------------------------------------


def test_torch_hub_finds_every_model() -> None:
    root = str(Path(__file__).parents[2])
    import hubconf

    entries = {name for name, each in vars(hubconf).items() if callable(each)}
    assert {name.replace("-", "_") for name in shipped_models() + shipped_models("series")} <= entries
    model = torch.hub.load(root, "conv_lstm", source="local", **TINY)
    assert type(model) is RecurrentStack
    assert torch.hub.load(root, "lstm", source="local", pretrained="lorenz-demo").recipe.data.name == "lorenz"
