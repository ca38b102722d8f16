"""Random numbers as pure functions of (seed, stream, counter): all workers, ranks and resumed runs draw the same.

Philox-4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011), vectorised.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox(key: tuple[int, int], counter: Sequence[NDArray[np.uint64]]) -> tuple[NDArray[np.uint64], ...]:
    """Philox-4x32-10: four 32-bit words of random output for each counter.

    Args:
        key: the two 32-bit words of the key.
        counter: the four 32-bit words of the counters, as four arrays of one shape.

    Returns:
        Four arrays of that shape.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ np.uint64(k0), p1 & _LOW, (p0 >> _HALF) ^ c3 ^ np.uint64(k1), p0 & _LOW
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def uniforms(seed: int, stream: int, counters: ArrayLike, draws: int) -> NDArray[np.float64]:
    """Draw numbers in [0, 1) with 53 random bits, as an array of shape `(*counters.shape, draws)`.

    Args:
        seed: the seed of the run or split, 0 ≤ seed < 2⁶⁴.
        stream: the number of the purpose, 0 ≤ stream < 2³². Each purpose has its own, so that no two are correlated.
        counters: integers in [0, 2⁶³), such as clip indices or step numbers.
        draws: how many numbers to draw for each counter.

    >>> bool((uniforms(0, 1, [5, 6], 3)[1] == uniforms(0, 1, 6, 3)).all())
    True
    """
    count = np.asarray(counters, dtype=np.uint64)[..., None]
    block = np.arange((draws + 1) // 2, dtype=np.uint64)
    count, block = np.broadcast_arrays(count, block)
    words = philox((seed & 0xFFFFFFFF, seed >> 32), (count & _LOW, count >> _HALF, block, np.full_like(block, stream)))
    a, b, c, d = words
    pairs = np.stack([(a << np.uint64(21)) ^ (b >> np.uint64(11)), (c << np.uint64(21)) ^ (d >> np.uint64(11))], -1)
    return (pairs.reshape(*count.shape[:-1], -1)[..., :draws] * 2.0**-53).astype(np.float64)


def permutation(seed: int, stream: int, counter: int, count: int) -> NDArray[np.int64]:
    """A random order of the numbers 0 … count - 1, for instance of the clips of an epoch. O(count · log count).

    Args:
        seed: the seed of the run or split; see `uniforms`.
        stream: the number of the purpose; see `uniforms`.
        counter: which order to draw, such as the number of the epoch.
        count: how many items to order.

    >>> sorted(permutation(0, 1, 5, 4).tolist())
    [0, 1, 2, 3]
    """
    return np.argsort(uniforms(seed, stream, counter, count), kind="stable")
