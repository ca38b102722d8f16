"""The pages of the models: the paper, what a clip costs, and the measured row."""

import pytest

from tests.support.documents import ROOT
from zoo import models as _models  # noqa: F401 - registers them
from zoo.registry import find_model


@pytest.mark.parametrize(
    ("name", "gmac", "words"),
    [
        ("conv-lstm-2015", 19.4, ["https://arxiv.org/abs/1506.04214", "7,585,296", "one weight for each channel"]),
        ("dfn", 17.8, ["Dynamic Filter Networks", "637,361", "neither brighten a pixel"]),
        ("predrnn", 45.9, ["MSE, 10→10 22.23", "minutes 30"]),
    ],
)
def test_the_page_of_a_model(name: str, gmac: float, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    from model_pages import page

    text = page(find_model(name))
    for expected in (f"10 predicted: {gmac} GMAC", "**Measured", *words):
        assert expected in text
