"""Write an HTML page about trained models: their settings, their training, and their predictions."""

from zoo.reporting.page import run_page
from zoo.reporting.source import Source, read_source

__all__ = ["Source", "read_source", "run_page"]
