"""A Sphinx extension that writes two pages of the reference: the help of every command, and every setting."""

import contextlib
import dataclasses
import inspect
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from unittest import mock

import typer.main
from typer.testing import CliRunner

import zoo
from tensortrain.cli import app as tensortrain_app
from zoo import settings
from zoo.cli import COMMANDS, main

COLUMNS = "100"  # of a page's monospaced text
PRESETS = ("demo", "brief", "small", "paper")
PARTS = {
    "training": (settings.Training,),
    "data": get_args(settings.Data),
    "sampling": get_args(settings.Sampling),
    "learning_rate": get_args(settings.LearningRate),
    "optimizer": get_args(settings.Optimizer),
    "origin": (settings.Origin,),
}


def commands() -> str:
    """The page of all commands."""
    lines = ["# Commands", "", "What each command prints with `--help`.", ""]
    for name in typer.main.get_command(tensortrain_app).commands:  # type: ignore[attr-defined]
        result = CliRunner().invoke(
            tensortrain_app, [name, "--help"], "", {"COLUMNS": COLUMNS}, prog_name="tensortrain"
        )
        lines += _section(f"tensortrain {name}", result.stdout)
    for name in COMMANDS:
        text = io.StringIO()
        with (
            mock.patch.dict(os.environ, {"COLUMNS": COLUMNS}),
            contextlib.redirect_stdout(text),
            contextlib.suppress(SystemExit),
        ):
            main([name, "--help"])
        lines += _section(f"zoo {name}", text.getvalue())
    return "\n".join(lines)


def _section(title: str, text: str) -> list[str]:
    return [f"## {title}", "", "```text", *(line.rstrip() for line in text.strip("\n").splitlines()), "```", ""]


def all_settings() -> str:
    """The page of all settings."""
    lines = [
        "# Settings",
        "",
        "Each setting can be given on the command line, such as `--training.batch_size 8`, in a YAML file, or to",
        "{py:func}`zoo.recipe`. The values of `training` are those of the presets for `conv-tt-lstm-sw`, all others",
        "are defaults. `zoo train MODEL DATASET --preset NAME --help` prints the values of any model.",
        "",
    ]
    for part, classes in PARTS.items():
        lines += [f"## {part}", ""]
        for each in classes:
            if len(classes) > 1:
                lines += [f"### {each.__name__}", "", (inspect.getdoc(each) or "").partition("\n")[0], ""]
            lines += [*_table(part, each), ""]
    return "\n".join(lines)


def _table(part: str, each: type[Any]) -> Iterator[str]:
    """A row for each setting of a class: its name, its values, its meaning."""
    names = PRESETS if part == "training" else ("default",)
    presets = [zoo.recipe("conv-tt-lstm-sw", preset).training for preset in PRESETS] if part == "training" else []
    yield f"| setting | {' | '.join(names)} | meaning |"
    yield "|---" * (len(names) + 2) + "|"
    meanings = described(each)
    for field in dataclasses.fields(each):
        values = [getattr(preset, field.name) for preset in presets] or [_default(field)]
        cells = ["" if value is dataclasses.MISSING else f"`{value!r}`" for value in values]
        yield f"| `{part}.{field.name}` | {' | '.join(cells)} | {meanings[field.name]} |"


def _default(field: "dataclasses.Field[Any]") -> Any:
    factory = field.default_factory
    return field.default if factory is dataclasses.MISSING else factory()


def described(each: type[Any]) -> dict[str, str]:
    """What the docstrings of a class and of those it derives from say about its arguments.

    >>> described(settings.LinearSampling)["start"]
    'the step at which it begins to fall.'
    """
    meanings: dict[str, str] = {}
    for base in reversed(each.__mro__):
        text = inspect.cleandoc(base.__dict__.get("__doc__") or "").partition("\nArgs:\n")[2].partition("\n\n")[0]
        for name, meaning in re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE):
            meanings[name] = " ".join(meaning.split()).replace("|", "\\|")
    return meanings


def write_pages(app: Any) -> None:
    """Write `reference/commands.md` and `reference/settings.md`, each if it has changed."""
    for name, text in {"commands": commands(), "settings": all_settings()}.items():
        path = Path(app.srcdir) / "reference" / f"{name}.md"
        if not path.exists() or path.read_text() != text.rstrip() + "\n":
            path.write_text(text.rstrip() + "\n")


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True}
