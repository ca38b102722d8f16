"""`python -m tensortrain` is the command `tensortrain`."""

from collections.abc import Callable
from typing import NoReturn

from tensortrain import terminal


def main() -> NoReturn:
    """Run the command; ends with `SystemExit`."""
    terminal.run("tensortrain", _load)


def _load() -> Callable[[], None]:
    from tensortrain.cli import main  # takes seconds

    return main


if __name__ == "__main__":
    main()
