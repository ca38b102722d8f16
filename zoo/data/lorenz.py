"""Series of the Lorenz system, the standard example of chaos (Lorenz, 1963)."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from zoo.counter_rng import uniforms
from zoo.data.clips import SeriesDataset, check_indices, counted
from zoo.data.digits import Split, check_split
from zoo.errors import ZooError

COUNTS = {"train": 10_000, "val": 1_000, "test": 1_000}
TRAJECTORIES = 128  # number of trajectories in each split
STARTS = 500  # number of steps of a trajectory at which a clip may start
SIGMA, RHO, BETA = 10.0, 28.0, 8 / 3
STEP, EVERY, TRANSIENT = 0.01, 5, 1_000  # integration: units of time, steps between two values, steps to discard
LOW, HIGH = np.array([-20.0, -28.0, 0.0]), np.array([20.0, 28.0, 50.0])  # of x, y and z; scaled to 0 and 1
_RULE = 1  # a change that makes other clips of the same settings must increase it
_STREAMS = {"train": 0x4C5A0001, "val": 0x4C5A0002, "test": 0x4C5A0003}
_CLIPS = 0x100  # added to a stream to draw the positions of the clips


class Windows(NamedTuple):
    """The values of a batch of clips, `(B, T, 3)` float32."""

    values: Tensor


class Lorenz(SeriesDataset, Dataset[Tensor]):
    """Clips of trajectories of the Lorenz system, generated on request. Each is a function of (seed, split, index).

        x' = 10 (y - x),    y' = x (28 - z) - y,    z' = x y - (8/3) z

    A trajectory starts at a random point, uniform in a box around the attractor. The classical Runge–Kutta method
    integrates it in double precision with steps of 0.01. The first 1,000 steps are discarded, and then every fifth step
    is kept (every 0.05 units of time). Each split has its own 128 trajectories, so that no clip of a split is near a
    clip of another.

    A clip starts at a random one of 500 positions on a random trajectory of its split. Its first values do not depend
    on its length. x is scaled from [-20, 20], y from [-28, 28] and z from [0, 50] to [0, 1].

    Small differences grow by a factor of e in about 1.1 units of time, which is 22 steps, because the largest Lyapunov
    exponent is 0.906. So beyond a few multiples of 22 steps, nothing can be predicted but the attractor.

    Args:
        split: "train", "val" or "test".
        length: T, the number of steps in a clip.
        count: the number of clips; by default 10,000 in "train" and 1,000 in "val" and "test".
        endless: whether to accept every index below 2⁶³, and not only those below `count`.
        seed: random seed of the trajectories and clips, 0 ≤ seed < 2⁶⁴.

    Raises:
        ZooError: if an argument is out of range.

    >>> test = Lorenz("test", length=30)
    >>> test.clips([3, 4]).shape, test[3].shape
    (torch.Size([2, 30, 3]), torch.Size([30, 3]))
    """

    columns = ("x", "y", "z")
    interval = STEP * EVERY
    unit = "time units"

    def __init__(
        self,
        split: Split = "train",
        *,
        length: int = 40,
        count: int | None = None,
        endless: bool = False,
        seed: int = 0,
    ) -> None:
        check_split(split)
        count = COUNTS[split] if count is None else count
        for name, value in (("length", length), ("count", count)):
            if not isinstance(value, int | np.integer) or value < 1:
                raise ZooError(f"{name} = {value!r} must be a whole number, at least 1")
        if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**64:
            raise ZooError(f"seed = {seed!r} must be a whole number, at least 0 and below 2^64")
        self.split, self.length, self.count, self.endless, self.seed = split, int(length), count, endless, int(seed)
        self.comparable_with = "lorenz"
        box = uniforms(self.seed, _STREAMS[split], np.arange(TRAJECTORIES), 3)
        values = integrate(LOW + (HIGH - LOW) * box, STARTS + self.length - 1)
        scaled = torch.from_numpy(((values - LOW) / (HIGH - LOW)).astype(np.float32))
        self._windows = scaled.unfold(1, self.length, 1).movedim(-1, 2)  # a view, (trajectories, starts, T, 3)
        self.mean = scaled[:, :STARTS].double().mean((0, 1)).float()

    def __len__(self) -> int:
        return self.count

    def fetch(self, indices: Sequence[int]) -> Windows:
        """Return the values of the clips, `(B, T, 3)`.

        Raises:
            ZooError: if an index is out of range.
        """
        clips = check_indices(indices, 2**63 if self.endless else self.count)
        place = uniforms(self.seed, _STREAMS[self.split] + _CLIPS, clips, 2) * (TRAJECTORIES, STARTS)
        trajectory, start = torch.from_numpy(place.astype(np.int64)).unbind(-1)
        return Windows(self._windows[trajectory, start])

    def render(self, batch: Windows) -> Tensor:
        """Return the clips `(B, T, 3)`."""
        return batch.values

    def describe(self) -> str:
        """Describe the data in one line: split and sizes."""
        clips = "endless clips" if self.endless else counted(self.count, "clip")
        return (
            f"Lorenz series {self.split}: {clips} of {counted(self.length, 'step')} of {self.interval:g} time units, "
            f"from {TRAJECTORIES} trajectories"
        )

    def digest(self) -> str:
        """A hash of the rule that generates clips and of this machine's arithmetic; see `ClipDataset.digest`."""
        content = hashlib.sha256(f"Lorenz series, rule {_RULE}".encode())
        content.update(integrate(np.ones((1, 3)), 1).tobytes())
        return content.hexdigest()


def integrate(start: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Integrate trajectories of the Lorenz system, and sample them after the transient.

    Args:
        start: the first points, `(N, 3)`.
        count: number of values of each trajectory.

    Returns:
        The values `(N, count, 3)`. The method uses only additions and multiplications in a fixed order, so that every
        machine computes the same bits.

    >>> still = np.sqrt(BETA * (RHO - 1))  # one of the two points where nothing moves
    >>> np.abs(integrate(np.array([[still, still, RHO - 1]]), 3) - [still, still, RHO - 1]).max() < 1e-9
    np.True_
    """
    point = start.T.copy()
    values = np.empty((count, *point.shape))
    for _ in range(TRANSIENT):
        point = _runge_kutta(point)
    for value in values:
        value[:] = point
        for _ in range(EVERY):
            point = _runge_kutta(point)
    return values.transpose(2, 0, 1)


def _runge_kutta(point: NDArray[np.float64]) -> NDArray[np.float64]:
    """One step of the classical Runge–Kutta method for points `(3, N)`."""
    a = _velocity(point)
    b = _velocity(point + STEP / 2 * a)
    c = _velocity(point + STEP / 2 * b)
    d = _velocity(point + STEP * c)
    return point + STEP / 6 * (a + 2 * (b + c) + d)


def _velocity(point: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y, z = point
    velocity = np.empty_like(point)
    np.multiply(y - x, SIGMA, out=velocity[0])
    np.subtract(x * (RHO - z), y, out=velocity[1])
    np.subtract(x * y, BETA * z, out=velocity[2])
    return velocity
