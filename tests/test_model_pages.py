"""The pages that `make docs` writes: of each model, of the commands, and of the settings."""

import matplotlib.pyplot
import pytest

from tests.support.documents import ROOT
from zoo import models as _models  # noqa: F401 - registers them
from zoo.registry import find_model, model_names


@pytest.mark.parametrize(
    ("name", "gmac", "words"),
    [
        ("conv-lstm-2015", 19.4, ["https://arxiv.org/abs/1506.04214", "7,585,296", "one weight for each channel"]),
        ("dfn", 17.8, ["Dynamic Filter Networks", "637,361", "neither brighten a pixel"]),
        ("predrnn", 45.9, ["MSE, 10→10 22.23", "minutes 34"]),
    ],
)
def test_the_page_of_a_model(name: str, gmac: float, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    from model_pages import page

    text = page(find_model(name))
    for expected in (f"10 predicted: {gmac} GMAC", "**Measured", *words):
        assert expected in text


def test_the_page_of_a_model_of_series(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    from model_pages import page

    hidden, layers, steps = 28, 2, 20
    macs = steps * 4 * hidden * (3 + hidden + layers * hidden) + 10 * 3 * hidden  # the output predicts 10 steps
    assert f"3 values observed and 10 predicted: {macs / 1000:.0f} kMAC" in page(find_model("lstm"))
    text = page(find_model("tt-lstm"))
    assert "**Measured** with the preset demo on Lorenz" in text
    assert "step 40 0.1370" in text


def test_the_pages_of_commands_and_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command shows its help, and every setting says what it is."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    from command_pages import all_settings, commands

    help_of = dict(part.split("\n", 1) for part in commands().split("\n## ")[1:])
    assert {"tensortrain decompose", "tensortrain verify", "zoo train", "zoo search"} <= set(help_of)
    for title, text in help_of.items():
        assert title.split()[1] in text
        assert "--help" in text
    rows = [line.split(" | ") for line in all_settings().splitlines() if line.startswith("| `")]
    assert len(rows) > 60
    assert all(len(row[-1]) > len("x. |") for row in rows)
    assert ["| `training.nodes`", *["`1`"] * 4, "number of machines. |"] in rows


def test_every_model_has_a_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no text of it is outside of the figure or of its box."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from model_drawings import GAP, NETWORKS, WIDTH, draw

    ours = {name for name in model_names() if find_model(name).make.__module__.startswith("zoo.")}
    assert set(NETWORKS) == ours  # other tests register models of their own
    for name in NETWORKS:
        figure = draw(name)
        canvas = FigureCanvasAgg(figure)
        for text in figure.axes[0].texts:
            extent = text.get_window_extent(canvas.get_renderer())
            corners = [(extent.x0, extent.y0), (extent.x1, extent.y1)]
            assert all(figure.bbox.contains(*corner) for corner in corners), name
            limit = WIDTH if text.get_color() == "white" else WIDTH + GAP
            assert extent.width <= limit * figure.dpi or "next step" in text.get_text(), (name, text.get_text())
        matplotlib.pyplot.close(figure)
