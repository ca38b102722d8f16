"""`python -m zoo` is the command `zoo`."""

from collections.abc import Callable
from typing import NoReturn

from tensortrain import terminal


def main() -> NoReturn:
    """Run the command `zoo`. It always ends with `SystemExit`."""
    terminal.run("zoo", _load)


def _load() -> Callable[[], None]:
    from zoo.cli import main  # takes seconds

    return main


if __name__ == "__main__":
    main()
