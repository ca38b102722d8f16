"""Pages: everything is inside, everything is escaped, and a browser draws it."""

import importlib.util
import io
import re
import sys
from pathlib import Path

import pytest
import torch
from matplotlib.colors import to_hex
from PIL import Image
from safetensors.torch import save_file

from tensortrain.errors import TensorTrainError
from tensortrain.pages import Bars, Details, Lines, Page, Picture, Player, Prose, Section, Tile
from tensortrain.pages.charts import FAINT
from tensortrain.tables import Column, Table
from tests.support.browser import CHROMIUM, loaded, opened
from tests.support.command import run

NASTY = "</script><img src=http://evil.example/x onerror=alert(1)> & 'quoted'"


def dot() -> bytes:
    """A picture of one pixel."""
    data = io.BytesIO()
    Image.new("L", (1, 1)).save(data, format="PNG")
    return data.getvalue()


LINES = {NASTY: [(1, 0.5), (2, 0.25)], "base": [(1, 1), (2, 1)]}
EXTRA = importlib.util.find_spec("altair") is not None and importlib.util.find_spec("vl_convert") is not None
PAGE = Page(
    f"Title {NASTY}",
    [f"Lead {NASTY}"],
    [Tile(NASTY, "label", "note")],
    [
        Section(
            f"Section {NASTY}",
            [
                Lines(
                    "Loss",
                    "step",
                    "loss",
                    lines={NASTY: [(1, 0.5), (2, 0.25)], "base": [(1, 1), (2, 1)]},
                    faint=["base"],
                ),
                Bars("Sizes", "parameters", "layer", rows=[NASTY, "b"], bars={"before": [2, 3], "after": [1, None]}),
                Table((Column("layer", words=True), Column("error")), [(NASTY, "0.1")], notes=(NASTY,)),
                Prose([NASTY]),
                Details(NASTY, NASTY),
                Picture("dot", dot(), NASTY),
                Player(NASTY, dot(), [NASTY, "two"], [f"1 {NASTY}", "2"], (1, 1)),
            ],
        )
    ],
)


@pytest.mark.skipif(not EXTRA, reason="needs altair")
@pytest.mark.parametrize("kinds", [1, 2, 3, 9])
def test_bars_have_the_same_colours_with_and_without_the_extra(kinds: int) -> None:
    chart = Bars("Sizes", "parameters", "layer", rows=["a"], bars={str(i): [i + 1] for i in range(kinds)})
    interactive = chart.specification()["encoding"]["color"]["scale"]["range"]
    still = [to_hex(bars.patches[0].get_facecolor()) for bars in chart.figure().axes[0].containers]
    assert [colour.lower() for colour in interactive] == still
    assert len(set(still)) == min(kinds, 7)
    assert (still[0] == FAINT) == (kinds > 1)  # what the other kinds are compared with is grey


@pytest.fixture(params=["as installed", "without the extra"])
def drawing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interactive charts where altair is installed, and static ones everywhere."""
    if request.param == "without the extra":
        monkeypatch.setattr("tensortrain.pages.page.interactive", lambda: False)


@pytest.mark.usefixtures("drawing")
def test_a_page_loads_nothing_and_runs_nothing_of_its_texts() -> None:
    page = PAGE.to_html()
    assert loaded(page) == []
    assert "<img src=http" not in page
    assert page.count("</script>") == page.count("<script")
    assert "default-src 'none'" in page
    assert len(page.encode()) < 3_000_000


def test_the_check_of_what_is_loaded_sees_it() -> None:
    for part in (
        '<img src="http://a/b.png">',
        "<link href='x.css'>",
        "<style>@import 'x'</style>",
        "<p style='x:url(y)'>",
    ):
        assert len(loaded(f"<html>{part}</html>")) == 1, part


def test_charts_are_pictures_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tensortrain.pages.page.interactive", lambda: False)
    page = PAGE.to_html()
    assert page.count('<img class="paper"') == 3
    assert "vegaEmbed" not in page


@pytest.mark.skipif(not EXTRA, reason="altair and vl-convert-python are not installed")
def test_the_javascript_of_the_charts_is_in_the_page_once() -> None:
    page = PAGE.to_html()
    assert page.count("window.vegaEmbed=") == 1
    assert page.count('class="chart"') == 2


def test_pages_without_any_means_of_drawing_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tensortrain.pages.page.interactive", lambda: False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(TensorTrainError, match="charts need matplotlib, or altair"):
        PAGE.to_html()


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_draws_the_page(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    PAGE.save(path)
    document = opened(path, "--window-size=390,800")
    assert document.count('data-drawn="yes"') == (2 if EXTRA else 0)
    assert not re.search(r"<output>\s*</output>", document)  # the player has said its moment
    assert "background-image" in document
    assert '<img src="http' not in document


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize(
    ("column", "clicks", "expected"),
    [
        (0, 1, ["a", "b", "c", "d", "e"]),
        (1, 1, ["d", "c", "e", "b", "a"]),
        (1, 2, ["e", "c", "d", "b", "a"]),
        (1, 3, ["b", "d", "a", "c", "e"]),
        (2, 1, ["c", "b", "a", "d", "e"]),
    ],
)
def test_a_click_on_a_heading_sorts_the_table(column: int, clicks: int, expected: list[str], tmp_path: Path) -> None:
    """Numbers by their value, with marks, commas, intervals and units; rows without a number stay at the end."""
    rows = [
        ("b", "", "2.5 min"),
        ("d", "> 9.5 ± 20", "1.5 h"),
        ("a", "–", "150 s"),
        ("c", "≈ 50.0 ± 1", "42 s"),
        ("e", "15,390", "1.6 h"),
    ]
    columns = Column("layer", words=True), Column("parameters"), Column("time")
    content = Page("t", [], [], [Section("s", [Table(columns, rows)])]).to_html()
    click = f"<script>for (let i = 0; i < {clicks}; i++) document.querySelectorAll('th')[{column}].click()</script>"
    (tmp_path / "page.html").write_text(content.replace("</body>", f"{click}</body>"))
    document = opened(tmp_path / "page.html")
    assert re.findall(r"<tr><td[^>]*>(\w)</td>", document) == expected


def test_the_command_writes_a_page_of_all_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tensortrain.pages.page.interactive", lambda: False)
    save_file({"a.weight": torch.randn(8, 4, 3, 3), "b.weight": torch.randn(1, 1, 3, 3)}, "net.safetensors")
    line = "decompose net.safetensors --kernel-sizes separable --budget 0.5 -o small.safetensors --report page.html"
    assert run(*line.split()) == 0
    page = Path("page.html").read_text()
    assert "page.html" in capsys.readouterr().out
    assert loaded(page) == []
    for part in ("Decomposed kernels", "8×4×3×3", "3×1 | 1×3", "b.weight"):
        assert part in page, part
    for report, words in (("page.pdf", "legal: .html"), ("no/x.html", "no"), ("net.safetensors", "legal: .html")):
        again = ["decompose", "net.safetensors", "-o", "again.safetensors", "--ranks", "2", "--report", report]
        assert run(*again) == 2
        assert words in capsys.readouterr().err
        assert not Path("again.safetensors").exists()
