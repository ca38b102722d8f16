"""Run the command `tensortrain` when `python -m tensortrain` is called."""

from collections.abc import Callable
from typing import NoReturn

from tensortrain import terminal


def main() -> NoReturn:
    """Run the command, which ends with `SystemExit`."""
    terminal.run("tensortrain", _load)


def _load() -> Callable[[], None]:
    """Import the command and return its main function."""
    from tensortrain.cli import main  # importing it takes seconds

    return main


if __name__ == "__main__":
    main()
