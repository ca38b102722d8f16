"""The page about runs: what was trained on what, how it went, what came of it."""

from zoo.reporting.page import run_page
from zoo.reporting.source import Source, read_source

__all__ = ["Source", "read_source", "run_page"]
