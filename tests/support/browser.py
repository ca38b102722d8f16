"""Pages in headless Chromium, and what they would load."""

import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LOADING = {"src", "href", "srcset", "poster", "data", "action", "formaction", "background", "xlink:href"}


class _Addresses(HTMLParser):
    """Collects what elements refer to, and the text of styles."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.styles = ""
        self._inside = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        self.addresses += [value or "" for name, value in attributes if name in LOADING]
        self.styles += "".join(value or "" for name, value in attributes if name == "style")

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            self.styles += data


def loaded(page: str) -> list[str]:
    """The addresses that a page would load, those of its own parts left out."""
    parser = _Addresses()
    parser.feed(page)
    inner = ("data:", "#")
    foreign = [address for address in parser.addresses if not address.startswith(inner)]
    return foreign + [word for word in ("@import", "url(") if word in parser.styles]


def opened(path: Path, *options: str, seconds: int = 100) -> str:
    """The document as it is when its scripts have run, without any network."""
    assert CHROMIUM is not None
    words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND", *options]
    words += ["--virtual-time-budget=8000", "--dump-dom", f"--user-data-dir={path.parent / 'profile'}", path.as_uri()]
    return subprocess.run([CHROMIUM, *words], capture_output=True, text=True, timeout=seconds, check=True).stdout
