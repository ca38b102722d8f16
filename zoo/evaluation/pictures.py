"""Predictions of video, and how they are drawn: as strips of frames, GIFs and videos."""

import base64
import functools
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from zoo.data.clips import counted, whole
from zoo.devices import find_device
from zoo.errors import ZooError
from zoo.evaluation.evaluator import evaluating, predicted_steps
from zoo.evaluation.frame_files import write_arrays, write_frames
from zoo.evaluation.frames import check_clip
from zoo.files import aside
from zoo.names import PREDICTIONS, check_suffix
from zoo.predictors.predictor import Predictor, check_tensor

if TYPE_CHECKING:
    from PIL.Image import Image

_SIDE = 96  # a frame is enlarged to at least this side, in pixels
_GAP, _MARGIN, _TEXT = 4, 12, 18  # in pixels
_COLUMNS = 10  # approximate number of columns of a strip
_NOTEBOOK_FPS = 5
_DIFFERENCE = "difference from truth"
_INK, _FAINT, _PAPER = (20, 20, 20), (110, 110, 110), (255, 255, 255)


@dataclass(frozen=True)
class Prediction:
    """The observed, predicted and true frames of one clip.

    Args:
        observed: the frames that the models observed, `(T_in, C, H, W)` with pixels in [0, 1]. Unless C is 1 or 3,
            pictures show the mean of the channels.
        predictions: the frames `(horizon, C, H, W)` that each model predicts next, by the model's name.
        truth: the true next frames `(≤ horizon, C, H, W)`, as many as are known.
    """

    observed: Tensor
    predictions: Mapping[str, Tensor]
    truth: Tensor

    @property
    def horizon(self) -> int:
        """The number of predicted frames."""
        return len(next(iter(self.predictions.values())))

    def strip(self, every: int | None = None) -> "Image":
        """Draw rows of observed, true and predicted frames, as in Figure 3 of the Conv-TT-LSTM paper.

        A line separates the observed frames from the others. If the truth is known, a row below each prediction shows
        its absolute difference from the truth: white for 0, black for 1.

        Args:
            every: show only every `every`-th frame, starting from the first predicted one. By default about ten frames
                are shown.

        Raises:
            ZooError: if `every` is below 1.
        """
        every = math.ceil(self.horizon / _COLUMNS) if every is None else whole("every", every)
        seen, ahead = len(self.observed), range(0, self.horizon, every)
        past = range((seen - 1) % every, seen, every)  # the last observed frame is always shown
        rows = [("observed", self.observed, past, 1)]
        if len(self.truth):
            rows.append(("truth", self.truth, ahead, seen + 1))
        for name, frames in self.predictions.items():
            rows.append((name, frames, ahead, seen + 1))
            if len(self.truth):
                rows.append((_DIFFERENCE, self._inverted_difference(frames), ahead, seen + 1))

        factor = self._factor()
        height, width = (factor * side for side in self.observed.shape[-2:])
        left = _MARGIN + max(_text_width(name) for name, *_ in rows) + _MARGIN
        step = height + _GAP
        numbered = [0, 1] if len(rows) > 1 else [0]
        page = _page(
            left + max(len(past), len(ahead)) * (width + _GAP) + _MARGIN - _GAP,
            2 * _MARGIN + len(rows) * step + len(numbered) * _TEXT + _GAP,
        )
        y = _MARGIN
        for i, (name, frames, shown, first) in enumerate(rows):
            if i in numbered:
                if i:
                    _line(page, left, y, page.width - _MARGIN)
                    y += _GAP
                for column, t in enumerate(shown):
                    _write(page, str(first + t), (left + column * (width + _GAP) + width / 2, y), "ma", _FAINT)
                y += _TEXT
            ink = _FAINT if name == _DIFFERENCE else _INK
            _write(page, name, (left - _MARGIN, y + height / 2), "rm", ink)
            for column, t in enumerate(shown):
                if t < len(frames):
                    _paste(page, frames[t], (left + column * (width + _GAP), y), factor)
            y += step
        return page

    def animation(self) -> list["Image"]:
        """Draw an image for every frame, with a panel for the truth and for each model.

        While frames are observed, all panels show the observed frame. Widths and heights are even, as video formats
        require.
        """
        factor = self._factor()
        height, width = (factor * side for side in self.observed.shape[-2:])
        panels = {**({"truth": self.truth} if len(self.truth) else {}), **self.predictions}
        cell = max(width, *(_text_width(name) for name in panels)) + 2 * _GAP
        size = (_even(len(panels) * cell + 2 * _MARGIN), _even(height + 2 * _TEXT + 2 * _MARGIN + _GAP))
        seen, pages = len(self.observed), []
        for t in range(seen + self.horizon):
            page = _page(*size)
            for i, (name, frames) in enumerate(panels.items()):
                x, y = _MARGIN + i * cell + cell // 2, _MARGIN
                _write(page, name, (x, y), "ma", _INK)
                frame = self.observed[t] if t < seen else frames[t - seen] if t - seen < len(frames) else None
                if frame is not None:
                    _paste(page, frame, (x - width // 2, y + _TEXT), factor)
            stage = "observed" if t < seen else "predicted"
            _write(page, f"frame {t + 1}, {stage}", (size[0] / 2, size[1] - _MARGIN), "md", _FAINT)
            pages.append(page)
        return pages

    def save(self, path: str | Path, fps: int = 8) -> None:
        """Write the prediction to a file or folder. The suffix decides on the format.

        - `.png`: the strip.
        - `.gif`, `.mp4`: the animation.
        - `.npz`: all numbers: `observed`, `truth`, `predictions` `(models, horizon, C, H, W)`, and the names `models`.
        - No suffix: a folder with every frame; see `zoo.evaluation.frame_files.write_frames`.

        After an error, nothing incomplete is left.

        Args:
            path: the file, or a new folder.
            fps: the frames per second of an animation.

        Raises:
            ZooError: if the suffix is another one, the folder cannot be written, or fps is below 1.
        """
        check_suffix(path, PREDICTIONS)
        if fps < 1:
            raise ZooError(f"fps = {fps} must be at least 1")
        suffix = Path(path).suffix.lower()
        if suffix == ".npz":
            write_arrays(path, observed=self.observed, truth=self.truth, predictions=self.predictions)
        elif not suffix:
            write_frames(path, self.observed, self.truth, self.predictions)
        else:
            with aside(path) as temporary:
                _WRITERS[suffix](self, temporary, fps)

    def _inverted_difference(self, frames: Tensor) -> Tensor:
        """One minus the absolute difference from the truth, for the frames whose truth is known."""
        return 1 - (frames[: len(self.truth)].clamp(0, 1) - self.truth).abs()

    def _repr_html_(self) -> str:
        """For notebooks: the animation."""
        data = io.BytesIO()
        write_gif(self, data, _NOTEBOOK_FPS)
        address = f"data:image/gif;base64,{base64.b64encode(data.getvalue()).decode()}"
        return f'<img alt="the observed, the true and the predicted frames, moving" src="{address}">'

    def _factor(self) -> int:
        return max(1, math.ceil(_SIDE / min(self.observed.shape[-2:])))


def predict(
    models: Mapping[str, Predictor],
    clip: Tensor,
    horizon: int = 10,
    observed: int = 10,
    device: torch.device | str | None = None,
) -> Prediction:
    """Let models predict how a clip of video continues. For series there is `predict_series`.

    Args:
        models: the models, by the names that pictures show.
        clip: frames `(T, C, H, W)` in [0, 1]. The frames after the first `observed` are the truth, as far as they go.
        horizon: the number of frames to predict, at least 1.
        observed: the number of observed frames T_in, at least 1.
        device: where to compute; by default where each model is.

    Returns:
        The prediction, with `save`, `strip` and `animation`.

    Raises:
        ZooError: if there are no models or they have no names, the clip has fewer frames than `observed` or pixels
            outside [0, 1], a model cannot read its frames, a number is not a whole number of at least 1, or there is no
            such device.

    >>> from zoo.evaluation import CopyLast
    >>> prediction = predict({"copy": CopyLast()}, torch.rand(5, 1, 16, 16), horizon=4, observed=3)
    >>> prediction.predictions["copy"].shape, prediction.truth.shape
    (torch.Size([4, 1, 16, 16]), torch.Size([2, 1, 16, 16]))
    """
    check_models(models)
    horizon, observed = whole("horizon", horizon), whole("observed", observed)
    check_tensor(clip, "clip")
    if clip.dim() != 4 or observed > len(clip):
        raise ZooError(
            f"a clip of shape {tuple(clip.shape)} does not have {counted(observed, 'frame')} to observe; it must "
            f"be (T ≥ {observed}, C, H, W)"
        )
    check_clip(clip)
    predictions = continuations(models, clip, horizon, observed, device)
    return Prediction(clip[:observed].cpu(), predictions, clip[observed : observed + horizon].cpu())


def check_models(models: object) -> None:
    """Raise a ZooError unless there are models by their names."""
    if not isinstance(models, Mapping):
        raise ZooError(f"models is a {type(models).__name__}; pass models by their names, as in {{'mine': model}}")
    if not models:
        raise ZooError("no models to predict with; name one or more")


def continuations(
    models: Mapping[str, Predictor],
    clip: Tensor,
    horizon: int,
    observed: int,
    device: torch.device | str | None,
) -> dict[str, Tensor]:
    """The `horizon` steps that each model predicts after the first `observed` steps of a clip `(T, …)`, by its name.

    Raises:
        ZooError: if a model cannot read the steps.
    """
    predictions = {}
    for name, model in models.items():
        weight = next(model.parameters(), clip)
        place = find_device(device, weight.device)
        x = clip[None, :observed].to(place, weight.dtype)
        with evaluating(model, place):
            predictions[name] = predicted_steps(model, x, horizon)[0].float().cpu()
    return predictions


def _page(width: float, height: float) -> "Image":
    from PIL import Image

    return Image.new("RGB", (math.ceil(width), math.ceil(height)), _PAPER)


@functools.cache
def _font() -> Any:
    """The font of the project's figures. In Pillow's own font, the r and n of `predrnn` touch."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), _TEXT - 5)


def _text_width(text: str) -> int:
    width: float = _font().getlength(text)
    return math.ceil(width)


def _write(page: "Image", text: str, place: tuple[float, float], anchor: str, ink: tuple[int, int, int]) -> None:
    from PIL import ImageDraw

    ImageDraw.Draw(page).text(place, text, ink, _font(), anchor=anchor)


def _line(page: "Image", left: float, y: float, right: float) -> None:
    from PIL import ImageDraw

    ImageDraw.Draw(page).line([(left, y), (right, y)], _FAINT, 2)


def _paste(page: "Image", frame: Tensor, corner: tuple[int, int], factor: int) -> None:
    """Draw a frame `(C, H, W)` with each pixel as a square, so that nothing is smoothed. If it has neither one channel
    nor three, it is drawn in grey."""
    from PIL import Image

    if len(frame) not in (1, 3):
        frame = frame.mean(0, keepdim=True)
    pixels = (frame.float().clamp(0, 1) * 255).round().to(torch.uint8).expand(3, -1, -1).permute(1, 2, 0)
    large = pixels.repeat_interleave(factor, 0).repeat_interleave(factor, 1)
    page.paste(Image.fromarray(large.numpy()), corner)


def _even(pixels: int) -> int:
    return pixels + pixels % 2


def _save_png(prediction: Prediction, path: Path, fps: int) -> None:
    prediction.strip().save(path, format="PNG")


def write_gif(prediction: Prediction, file: Path | io.BytesIO, fps: int) -> None:
    """Write the animation as a GIF."""
    first, *others = prediction.animation()
    first.save(file, format="GIF", save_all=True, append_images=others, duration=round(1000 / fps), loop=0)


def _save_mp4(prediction: Prediction, path: Path, fps: int) -> None:
    import av

    pages = prediction.animation()
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with av.open(str(path), "w", format="mp4") as container:
        stream = cast("av.VideoStream", container.add_stream(codec, rate=fps))
        stream.width, stream.height = pages[0].size
        stream.pix_fmt = "yuv420p"
        for page in pages:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(page), format="rgb24")))
        container.mux(stream.encode())


_WRITERS: dict[str, Callable[[Prediction, Path, int], None]] = {".png": _save_png, ".gif": write_gif, ".mp4": _save_mp4}
