"""Conventions: the ways in which published numbers were measured, and the standard one, by name.

Publications measure in different ways, so a published number can only be compared with one that was measured by the
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
        name: by which tables and `find_convention` know it.
        source: where it comes from.
        measures: in the order of a table's columns; a metric that the source does not compute is left out.

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
            ZooError: a metric that the convention does not have.
        """
        return self.choose([key]).measures[0]

    def __contains__(self, key: str) -> bool:
        return any(measure.key == key for measure in self.measures)

    def choose(self, keys: list[str] | tuple[str, ...]) -> "Convention":
        """The same convention with these metrics only, in this order.

        Raises:
            ZooError: a metric that the convention does not have.
        """
        known = {measure.key: measure for measure in self.measures}
        for key in keys:
            if key not in known:
                raise ZooError(f"convention {self.name!r} has no metric {key!r}; {nearest(key, known)}")
        return Convention(self.name, self.source, tuple(known[key] for key in keys))

    def text(self) -> str:
        """The name, the source, and how each metric is computed, as one sentence for the foot of a table."""
        shared = len({measure.preparation for measure in self.measures}) == 1
        head = f"Convention {self.name} ({self.source})" + (_listed(self.measures[0].preparation) if shared else "")
        parts = [f"{m.key.upper()} {m.text()}" + ("" if shared else _listed(m.preparation)) for m in self.measures]
        return f"{head}: {'; '.join(parts)}."

    @property
    def content(self) -> Content:
        """Of the clips that it measures: "video" or "series"."""
        return self.measures[0].content

    def to_dict(self) -> dict[str, Any]:
        """The convention as plain data, which `from_dict` reads."""
        return {"name": self.name, "source": self.source, "measures": [m.to_dict() for m in self.measures]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Convention":
        """The convention that `to_dict` wrote."""
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
    """A convention by its name.

    Args:
        name: one of `CONVENTIONS`, which are all of frames; None for the default. A `Convention` is returned as it is.
        content: of the clips to be measured.

    Raises:
        ZooError: no such convention, or one for other clips.
    """
    if name is None:
        return DEFAULTS[content]
    if isinstance(name, str):
        names.check_name("convention", name, CONVENTIONS)
    convention = CONVENTIONS[name] if isinstance(name, str) else name
    if convention.content != content:
        raise ZooError(
            f"convention {convention.name!r} measures {convention.content}, and the clips are {content}; leave it out"
        )
    return convention


def _listed(preparation: str) -> str:
    return f", {preparation}" if preparation else ""
