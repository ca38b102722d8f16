"""The README and the documentation say what is so: snippets print their output, links and paths lead somewhere."""

import contextlib
import dataclasses
import io
import re
import sys
import tomllib
from datetime import date
from pathlib import Path
from typing import Any, Literal, get_args

import matplotlib
import pytest
import yaml
from pydantic import BaseModel, ConfigDict

import zoo.models  # noqa: F401 - so that all models are registered before a test copies the registry
from tests.benchmarks import tables
from tests.support.documents import ROOT, Snippet, broken_links, commands, pages, snippets
from zoo import registry, settings

README = (ROOT / "README.md").read_text()
EXECUTED = [path for path in pages() if snippets(path.read_text())]


def run(snippet: Snippet, names: dict[str, Any]) -> str:
    """What a snippet prints; `names` are those of the page's earlier snippets, and are changed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(snippet.code, names)
    return printed.getvalue()


@pytest.mark.parametrize("path", EXECUTED, ids=lambda path: str(path.relative_to(ROOT)))
def test_snippets_run_and_print_what_the_page_says(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS))  # a page may register a model
    names: dict[str, Any] = {"__name__": "page"}
    for snippet in snippets(path.read_text()):
        printed = run(snippet, names)
        if snippet.printed is not None:
            assert numbers(printed) == numbers(snippet.printed)
            assert words(printed) == words(snippet.printed)


def numbers(text: str) -> list[float]:
    """All numbers, rounded to two digits: processors differ in the last ones of errors and bounds."""
    return [float(f"{float(n.replace(',', '')):.2g}") for n in re.findall(r"\d[\d,]*\.?\d*", text)]


def words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z→×]+", text)


def test_the_readme_is_read_in_five_minutes() -> None:
    lines = README.splitlines()
    assert len(lines) <= 150
    first_screen = "\n".join(lines[:25])
    assert all(command in first_screen for command in ("pip install", "make demo", "make test", ".gif", ".svg"))


@pytest.mark.parametrize("path", pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    assert list(broken_links(path)) == []


def test_a_broken_link_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A page\n[a](page.md#a-page) [b](other.md) [c](#no-heading) [d](https://example.org) ![e](x.png)")
    assert list(broken_links(page)) == ["other.md", "#no-heading", "x.png"]


def test_the_map_of_the_code_names_what_exists() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("## Map of the code")[2].partition("## ")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    assert len(rows) > 10
    for row in rows:
        paths = re.findall(r"`([^`]+)`", row)
        package = paths[0].partition("/")[0]
        for path in paths:  # the first is whole, others may leave the package or the folder out
            assert any((ROOT / folder / path).exists() for folder in ("", package, Path(paths[0]).parent)), path


def test_every_path_that_a_page_names_exists() -> None:
    named = {
        (page.name, path)
        for page in pages()
        for path in re.findall(r"`((?:tensortrain|zoo|tests|docs|proofs|examples)/[\w/.-]*\w/?)`", page.read_text())
    }
    assert len(named) > 20
    assert [pair for pair in sorted(named) if not (ROOT / pair[1]).exists()] == []


def test_every_setting_in_a_command_exists() -> None:
    classes = {
        "data": get_args(settings.Data),
        "sampling": get_args(settings.Sampling),
        "learning_rate": get_args(settings.LearningRate),
        "optimizer": get_args(settings.Optimizer),
        "training": (settings.Training,),
        "origin": (settings.Origin,),
    }
    text = "\n".join(path.read_text() for path in pages())
    named = set(re.findall(r"--(\w+)\.(\w+)", text)) - {
        ("options", name) for _, name in re.findall(r"--(options)\.(\w+)", text)
    }
    assert len(named) > 5
    for part, name in named:
        assert name in {field.name for each in classes[part] for field in dataclasses.fields(each)}, f"{part}.{name}"


def test_every_command_in_a_page_is_one() -> None:
    from tensortrain.cli import app
    from zoo.cli import COMMANDS

    known = {"zoo": set(COMMANDS), "tensortrain": {command.callback.__name__ for command in app.registered_commands}}
    lines = [line.split() for path in pages() for line in commands(path.read_text())]
    assert len(lines) > 10
    for program, command, *_ in lines:
        assert command.startswith("-") or command in known[program], f"{program} {command}"


# ---- tables of results --------------------------------------------------------------------------------------


def test_every_table_of_results_names_its_command_and_machine_and_is_shown() -> None:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from result_files import markdown, read_table
    finally:
        sys.path.pop(0)
    text = "\n".join(path.read_text() for path in pages())
    shown = set(re.findall(r"^```\{result-table\} (\S+)$", text, re.MULTILINE))
    files = sorted((ROOT / "docs" / "results").glob("*.csv"))
    assert shown == {path.stem for path in files}
    for path in files:
        table = read_table(path)
        assert set(table.about) <= {"command", "machine", "values"}
        assert len(markdown(table, path.stem)) == len(table.rows) + 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# command: c\na,b\n1,2\n", "begins without a line '# machine"),
        ("# machine: m\na,b\n", "begins without a line '# command"),
        ("# command: c\n# machine: m\na,b\n1\n", "rows differ in length"),
    ],
)
def test_a_table_that_does_not_say_how_it_was_measured(tmp_path: Path, text: str, message: str) -> None:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from result_files import read_table
    finally:
        sys.path.pop(0)
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / "x.csv")


def test_rows_that_are_measured_one_at_a_time_join_their_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "x.csv"

    def measure(load: int, command: str, *rows: tuple[str, str, str], keys: int = 2) -> list[str]:
        monkeypatch.setattr(tables, "machine", lambda: f"PC, load {load}")
        table = tables.Table("model", "budget", "error")
        for row in rows:
            table.add(*row)
        table.write(path, command, "errors", keys)
        return path.read_text().splitlines()

    measure(3, "first", ("a", "50%", "1"), ("a", "25%", "2"))
    lines = measure(9, "second", ("b", "50%", "3"), ("a", "25%", "4"))
    assert lines[:3] == ["# command: first; second", "# machine: PC, load 3 to 9", "# values: errors"]
    assert lines[3:] == ["model,budget,error", "a,50%,1", "a,25%,4", "b,50%,3"]
    lines = measure(5, "third", ("a", "50%", "5"), ("a", "25%", "6"), ("b", "50%", "7"))
    assert lines[:2] == ["# command: third", "# machine: PC, load 5"]  # nothing is left of the others
    assert measure(1, "fourth", ("c", "50%", "8"), keys=0)[3:] == ["model,budget,error", "c,50%,8"]


# ---- diagrams -----------------------------------------------------------------------------------------------


def pinned(package: str) -> str:
    return re.search(rf"^{package}==(.*)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE).group(1)


@pytest.mark.skipif(
    matplotlib.__version__ != pinned("matplotlib"), reason="another version of Matplotlib draws otherwise"
)
def test_diagrams_are_those_that_the_program_draws(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from drawings import DRAWINGS, IMAGES, draw
    finally:
        sys.path.pop(0)
    draw(tmp_path)
    assert {path.stem for path in IMAGES.glob("*.svg")} == set(DRAWINGS)
    for name in DRAWINGS:
        assert (tmp_path / f"{name}.svg").read_text() == (IMAGES / f"{name}.svg").read_text(), name


# ---- versions, citation -------------------------------------------------------------------------------------


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Author(Closed):
    """A person or a group; the schema 1.2.0 asks for one of both."""

    name: str | None = None
    family_names: str | None = None
    given_names: str | None = None


class Reference(Closed):
    type: Literal["article", "conference-paper"]
    title: str
    authors: list[Author]
    year: int
    notes: str = ""
    collection_title: str = ""


class Citation(Closed):
    """The keys that this project uses of the Citation File Format, with the types of its schema 1.2.0."""

    cff_version: Literal["1.2.0"]
    message: str
    title: str
    abstract: str
    type: Literal["software"]
    authors: list[Author]
    version: str
    date_released: date
    license: Literal["MIT"]
    keywords: list[str]
    references: list[Reference]


def plain(value: Any) -> Any:
    """The same value with underscores in its keys, as names of Python have them."""
    if isinstance(value, dict):
        return {key.replace("-", "_"): plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


def test_the_citation_is_of_this_version_and_follows_its_schema() -> None:
    text = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    citation = Citation.model_validate(plain(text))
    assert citation.version == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for author in [*citation.authors, *(author for reference in citation.references for author in reference.authors)]:
        assert bool(author.name) != bool(author.family_names and author.given_names)


def test_the_changelog_begins_with_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == version
    assert headings == sorted(headings, key=lambda heading: tuple(map(int, heading.split("."))), reverse=True)
