"""Tables of measurements: printed row by row while they are measured, then written as CSV files of `docs/results`."""

import csv
import os
import platform
from pathlib import Path

import torch


class Table:
    """A table that prints itself as Markdown.

    Args:
        columns: their names.
    """

    def __init__(self, *columns: str) -> None:
        self.rows = [list(columns)]
        self._print(self.rows[0])
        self._print(["---"] * len(columns))

    def add(self, *cells: object) -> None:
        """Add and print a row; columns that it does not fill stay empty."""
        row = [str(cell) for cell in cells]
        self.rows.append(row + [""] * (len(self.rows[0]) - len(row)))
        self._print(self.rows[-1])

    def write(self, path: Path, command: str, values: str, keys: int = 0) -> None:
        """Write a CSV file that also says by which command and on which machine it was measured, and what it holds.

        With `keys`, rows that the file has already are kept, unless one was measured again that agrees with them in so
        many of the first columns. The file then names all commands and loads.
        """
        about, rows = {"command": command, "machine": machine(), "values": values}, self.rows[1:]
        if keys and path.exists():
            before, (header, *old) = _read(path)
            measured = {tuple(row[:keys]): row for row in rows}
            if header == self.rows[0] and any(tuple(row[:keys]) not in measured for row in old):
                rows = [measured.pop(tuple(row[:keys]), row) for row in old] + list(measured.values())
                commands = [*before["command"].split("; "), command]
                about["command"] = "; ".join(dict.fromkeys(commands))
                about["machine"] = _both(before["machine"], about["machine"])
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            file.writelines(f"# {name}: {text}\n" for name, text in about.items())
            csv.writer(file, lineterminator="\n").writerows([self.rows[0], *rows])

    @staticmethod
    def _print(cells: list[str]) -> None:
        print("|", " | ".join(cell.replace("|", "\\|") for cell in cells), "|", flush=True)


def _read(path: Path) -> tuple[dict[str, str], list[list[str]]]:
    """What a file says of itself, and its rows."""
    lines = path.read_text().splitlines()
    comments = [line.removeprefix("# ") for line in lines if line.startswith("# ")]
    return dict(line.split(": ", 1) for line in comments), list(csv.reader(lines[len(comments) :]))


def _both(before: str, now: str) -> str:
    """Two machines as one with a range of loads, if nothing else differs."""
    (first, _, loads), (second, _, load) = before.partition(", load "), now.partition(", load ")
    if first != second or not load:
        return "; ".join(dict.fromkeys([before, now]))
    values = sorted({int(value) for value in [*loads.split(" to "), load]})
    return f"{first}, load {' to '.join(str(value) for value in dict.fromkeys([values[0], values[-1]]))}"


def machine() -> str:
    """Processor, cores, threads, version of PyTorch, and how busy the machine is with this and other programs."""
    load = ", load " + " ".join(f"{value:.0f}" for value in os.getloadavg()[:1]) if hasattr(os, "getloadavg") else ""
    threads = torch.get_num_threads()
    return (
        f"{processor()}, {os.cpu_count()} cores, {threads} thread{'s' if threads > 1 else ''},"
        f" PyTorch {torch.__version__}{load}"
    )


def processor() -> str:
    """Name of the processor, on Linux that of the first core."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
