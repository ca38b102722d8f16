"""Conventions: named ways of measuring, among them those of publications and a standard one.

Publications measure in different ways. So a published number can only be compared with one that was measured by the
same convention.
"""

from dataclasses import dataclass
from typing import Any

from zoo import names
from zoo.errors import ZooError, nearest
from zoo.evaluation.measure import Measure
from zoo.evaluation.metrics import Lpips, Mae, Mse, Psnr, Ssim, measure_from_dict
from zoo.evaluation.series_metrics import Rmse
from zoo.settings import Content


@dataclass(frozen=True)
class Convention:
    """A named set of measures.

    Args:
        name: the name in tables and for `find_convention`.
        source: where the convention comes from.
        measures: the measures in the order of a table's columns. Metrics that the source does not compute are missing.

    >>> find_convention("standard")["ssim"].text()
    '11-pixel Gaussian window σ 1.5 inside the frame, range 1'
    >>> [measure.key for measure in find_convention("predrnn-pp").measures]
    ['mse', 'mae', 'psnr', 'ssim']
    """

    name: str
    source: str
    measures: tuple[Measure, ...]

    def __getitem__(self, key: str) -> Measure:
        """The measure of a metric.

        Raises:
            ZooError: if the convention does not have this metric.
        """
        return self.choose([key]).measures[0]

    def __contains__(self, key: str) -> bool:
        return any(measure.key == key for measure in self.measures)

    def choose(self, keys: list[str] | tuple[str, ...]) -> "Convention":
        """The same convention with only these metrics, in this order.

        Raises:
            ZooError: if there are no keys, or the convention does not have a metric.
        """
        known = {measure.key: measure for measure in self.measures}
        if not keys:
            raise ZooError(
                f"no metrics to measure; name one or more of {', '.join(known)}, or leave metrics out for all"
            )
        for key in keys:
            if key not in known:
                raise ZooError(f"convention {self.name!r} has no metric {key!r}; {nearest(key, known)}")
        return Convention(self.name, self.source, tuple(known[key] for key in keys))

    def text(self) -> str:
        """The name, the source, and how each metric is computed, as one sentence to print below a table."""
        shared = len({measure.preparation for measure in self.measures}) == 1
        head = f"Convention {self.name} ({self.source})" + (_listed(self.measures[0].preparation) if shared else "")
        parts = [f"{m.key.upper()} {m.text()}" + ("" if shared else _listed(m.preparation)) for m in self.measures]
        return f"{head}: {'; '.join(parts)}."

    @property
    def content(self) -> Content:
        """The kind of clips that it measures: "video" or "series"."""
        return self.measures[0].content

    def to_dict(self) -> dict[str, Any]:
        """The convention as plain data. `from_dict` is the inverse."""
        return {"name": self.name, "source": self.source, "measures": [m.to_dict() for m in self.measures]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Convention":
        """Make a convention from the data of `to_dict`."""
        return cls(data["name"], data["source"], tuple(measure_from_dict(m) for m in data["measures"]))


CONVENTIONS: dict[str, Convention] = {
    convention.name: convention
    for convention in (
        Convention("standard", "every metric as its own paper defines it", (Mse(), Mae(), Psnr(), Ssim(), Lpips())),
        Convention(
            "conv-tt-lstm",
            "evaluation code of the Conv-TT-LSTM paper",
            (Mse(), Psnr(), Ssim(window="uniform-7", data_range=2.0), Lpips(net="alex", signed=False)),
        ),
        Convention(
            "predrnn-pp",
            "evaluation code of the PredRNN++ paper",
            (
                Mse(per="frame"),
                Mae(pixels="raw", per="frame"),
                Psnr(pixels="uint8"),
                Ssim(pixels="uint8", window="uniform-7", data_range=255.0),
            ),
        ),
        Convention(
            "openstl",
            "OpenSTL benchmark",
            (
                Mse(pixels="raw", per="frame"),
                Mae(pixels="raw", per="frame"),
                Psnr(),
                Ssim(window="uniform-7", data_range=2.0),
                Lpips(net="alex"),
            ),
        ),
    )
}


DEFAULTS: dict[Content, Convention] = {
    "video": CONVENTIONS["standard"],
    "series": Convention("series", "as in long-term forecasting", (Rmse(),)),
}


def find_convention(name: str | Convention | None, content: Content = "video") -> Convention:
    """Look up a convention by its name.

    Args:
        name: one of `CONVENTIONS`, which are for frames; None for the default. A `Convention` is returned unchanged.
        content: the kind of clips to measure: "video" or "series".

    Raises:
        ZooError: if there is no such convention, or it is for another kind of clips.
    """
    if name is None:
        return DEFAULTS[content]
    if isinstance(name, str):
        names.check_name("convention", name, CONVENTIONS)
    convention = CONVENTIONS[name] if isinstance(name, str) else name
    if convention.content != content:
        raise ZooError(
            f"convention {convention.name!r} measures {convention.content}, but the clips are {content}; leave it out"
        )
    return convention


def _listed(preparation: str) -> str:
    return f", {preparation}" if preparation else ""
