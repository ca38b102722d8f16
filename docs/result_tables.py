"""A Sphinx extension for measured tables: the directive `result-table` shows a CSV file of the folder `results`."""

from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from result_files import RESULTS, markdown, read_table


class Results(Directive):
    """The directive `result-table NAME`, for the file `results/NAME.csv`."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The table, and a paragraph that says how it was measured."""
        path = RESULTS / f"{self.arguments[0]}.csv"
        try:
            lines = markdown(read_table(path), path.stem)
        except (OSError, ValueError) as error:
            raise self.error(str(error)) from error
        self.state.document.settings.record_dependencies.add(str(path))
        container = nodes.container(classes=["results"])
        self.state.nested_parse(StringList(lines, str(path)), self.content_offset, container)
        return [container]


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("result-table", Results)
    return {"parallel_read_safe": True}
