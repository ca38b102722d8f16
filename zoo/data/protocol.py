"""Data sets in Python that users write themselves: what they must define, and how they become a `ClipDataset`."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor

from zoo.data.clips import ClipDataset, check_indices, counted, whole
from zoo.errors import ZooError


class ClipSource(Protocol):
    """What `zoo.fit` and `zoo.evaluate` require of your own data set: a length, clips by index, and a digest.

    >>> class Ramps:
    ...     length = 6  # frames of a clip
    ...     def __len__(self):
    ...         return 100
    ...     def __getitem__(self, index):  # (T, C, H, W) in [0, 1]
    ...         return torch.linspace(0, 1, 6)[:, None, None, None].expand(6, 1, 8, 8)
    ...     def digest(self):  # changes when the clips do
    ...         return "ramps, version 1"
    >>> adapted(Ramps()).clips([3]).shape
    torch.Size([1, 6, 1, 8, 8])
    """

    length: int
    """T, the number of frames in a clip."""

    def __len__(self) -> int:
        """The number of clips."""
        ...

    def __getitem__(self, index: int) -> Any:
        """A clip `(T, C, H, W)`, floating-point in [0, 1], as a tensor or array. Every call must return the same."""
        ...

    def digest(self) -> str:
        """A text that changes if the clips change, so that a run is only resumed with the same clips."""
        ...


class OwnFrames(NamedTuple):
    """Frames `(B, T, C, H, W)`, float32 in [0, 1]."""

    frames: Tensor


class OwnClips(ClipDataset):
    """Wraps a `ClipSource` as a `ClipDataset`.

    Args:
        source: the user's data set.

    Raises:
        ZooError: if the data set lacks an attribute, or holds no clips.
    """

    def __init__(self, source: ClipSource) -> None:
        kind = type(source).__name__
        for name in ("length", "__len__", "__getitem__", "digest"):
            if not hasattr(source, name):
                raise ZooError(f"the data set {kind} has no {name}; zoo.data.ClipSource lists what is needed")
        if len(source) < 1:
            raise ZooError(f"the data set {kind} holds no clips, but needs at least one")
        self.source, self.length = source, whole(f"{kind}.length", source.length)

    def __len__(self) -> int:
        return len(self.source)

    @cached_property
    def comparable_with(self) -> str:  # type: ignore[override]  # nobody assigns to it
        """See `ClipDataset`: other clips of the user's class have another digest."""
        return f"clips of {type(self.source).__name__}, content {self.digest()[:8]}"

    def fetch(self, indices: Sequence[int]) -> OwnFrames:
        """Ask the user's data set for the clips.

        Raises:
            ZooError: if an index is out of range, or a clip has a wrong type, shape or range.
        """
        clips = [self._clip(int(index)) for index in check_indices(indices, len(self))]
        if len({clip.shape for clip in clips}) > 1:
            raise ZooError(f"{self.describe()}: its clips have different shapes; give all of them the same shape")
        return OwnFrames(torch.stack(clips))

    def _clip(self, index: int) -> Tensor:
        each = self.source[index]
        try:
            clip = torch.as_tensor(each)
        except (TypeError, ValueError, RuntimeError) as error:
            reason = str(error).partition("\n")[0][:100]
            raise ZooError(
                f"{self.describe()}: clip {index} is a {type(each).__name__}, which is neither a tensor nor an array "
                f"({reason}); return one of shape ({self.length}, C, H, W)"
            ) from None
        if clip.dim() != 4 or len(clip) != self.length or not clip.is_floating_point() or not clip.numel():
            raise ZooError(
                f"{self.describe()}: clip {index} is {str(clip.dtype).removeprefix('torch.')} of shape "
                f"{tuple(clip.shape)}, but must be floating-point of shape ({self.length}, C, H, W)"
            )
        low, high = (float(each) for each in torch.aminmax(clip))
        if not (low >= 0 and high <= 1):  # NaN too
            raise ZooError(f"{self.describe()}: clip {index} has pixels from {low:g} to {high:g}; map them to [0, 1]")
        return clip.float()

    def render(self, batch: OwnFrames) -> Tensor:
        """Return the same frames."""
        return batch.frames

    def describe(self) -> str:
        """Describe the data in one line: the user's class, and the number of clips."""
        return f"{type(self.source).__name__}, {counted(len(self), 'clip')} of {counted(self.length, 'frame')}"

    def digest(self) -> str:
        """A hash of the digest of the user's data set; see `ClipDataset.digest`."""
        return hashlib.sha256(str(self.source.digest()).encode()).hexdigest()


def adapted(dataset: ClipDataset | ClipSource) -> ClipDataset:
    """Wrap a user's data set as a `ClipDataset`. Data sets of the package are returned unchanged.

    Raises:
        ZooError: in the cases of `OwnClips`.
    """
    if hasattr(dataset, "fetch") and hasattr(dataset, "render"):
        return cast(ClipDataset, dataset)
    return OwnClips(dataset)
