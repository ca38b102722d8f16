"""The counter-based generator, against published vectors and a scalar implementation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from zoo.counter_rng import permutation, philox, uniforms

WORD = st.integers(0, 2**32 - 1)
FULL = 0xFFFFFFFF


def scalar_philox(key, counter):
    """Philox-4x32-10 on Python's integers, round by round."""
    (k0, k1), (x0, x1, x2, x3) = key, counter
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * x0, 2**32)
        high1, low1 = divmod(0xCD9E8D57 * x2, 2**32)
        x0, x1, x2, x3 = high1 ^ x1 ^ k0, low1, high0 ^ x3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return x0, x1, x2, x3


def run(key, counter):
    return tuple(int(word) for word in philox(key, [np.uint64(word) for word in counter]))


@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [  # the known answers that come with Random123
        ((0, 0), (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((FULL, FULL), (FULL, FULL, FULL, FULL), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0xA4093822, 0x299F31D0),
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_published_vectors_are_reproduced(key, counter, expected):
    assert run(key, counter) == expected
    assert scalar_philox(key, counter) == expected


@given(st.tuples(WORD, WORD), st.lists(st.tuples(WORD, WORD, WORD, WORD), min_size=1, max_size=4))
def test_any_vector_is_that_of_scalar_arithmetic(key, counters):
    words = philox(key, list(np.array(counters, np.uint64).T))
    assert np.stack(words, -1).tolist() == [list(scalar_philox(key, counter)) for counter in counters]


@given(st.integers(0, 2**64 - 1), WORD, st.integers(0, 2**63 - 1), st.integers(1, 7))
def test_uniforms_are_53_bits_of_each_pair_of_words(seed, stream, counter, draws):
    expected = []
    for block in range(4):
        words = scalar_philox((seed % 2**32, seed >> 32), (counter % 2**32, counter >> 32, block, stream))
        expected += [(high * 2**21 + high_bits) / 2**53 for high, high_bits in split_pairs(words)]
    numbers = uniforms(seed, stream, counter, draws)
    assert numbers.tolist() == expected[:draws]
    assert numbers.min() >= 0
    assert numbers.max() < 1


def split_pairs(words):
    """`a · 2²¹ xor b's top 21 bits` as a sum: the 53-bit number whose halves overlap in no bit."""
    return [(a, b >> 11) for a, b in (words[:2], words[2:])]


def test_the_largest_number_is_below_one(monkeypatch):
    monkeypatch.setattr("zoo.counter_rng.philox", lambda key, counter: (np.full_like(counter[0], FULL),) * 4)
    assert uniforms(0, 0, 0, 4).tolist() == [1 - 2.0**-53] * 4


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=6), st.integers(1, 5), st.integers(0, 4))
def test_numbers_depend_on_neither_company_nor_count(counters, draws, more):
    together = uniforms(3, 4, counters, draws + more)
    for row, counter in zip(together, counters, strict=True):
        assert np.array_equal(row[:draws], uniforms(3, 4, counter, draws))


def test_the_draws_are_the_last_axis():
    assert uniforms(0, 0, np.zeros((2, 3), np.int64), 5).shape == (2, 3, 5)


def test_every_bit_of_seed_stream_and_counter_counts():
    settings = {(0, 0, 0)} | {(1 << bit, 0, 0) for bit in range(64)}
    settings |= {(0, 1 << bit, 0) for bit in range(32)} | {(0, 0, 1 << bit) for bit in range(63)}
    assert len({uniforms(*setting, 1).item() for setting in settings}) == 160


@pytest.mark.parametrize("along", ["counters", "draws", "streams", "seeds"])
def test_numbers_are_uniform_and_uncorrelated_along_each_axis(along):
    count = 20_000
    numbers = {
        "counters": lambda: uniforms(7, 1, np.arange(count), 1)[:, 0],
        "draws": lambda: uniforms(7, 1, 0, count),
        "streams": lambda: np.array([uniforms(7, stream, 0, 1)[0] for stream in range(2_000)]),
        "seeds": lambda: np.array([uniforms(seed, 1, 0, 1)[0] for seed in range(2_000)]),
    }[along]()
    assert stats.kstest(numbers, "uniform").pvalue > 1e-3
    assert abs(stats.pearsonr(numbers[1:], numbers[:-1]).statistic) < 4 / np.sqrt(len(numbers))
    low = (numbers * 2**53).astype(np.uint64) & np.uint64(1)  # the last bit too
    assert abs(low.mean() - 0.5) < 2 / np.sqrt(len(numbers))


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**63 - 1), st.integers(1, 50))
def test_permutation_holds_every_item_once(seed, counter, count):
    order = permutation(seed, 2, counter, count)
    assert sorted(order.tolist()) == list(range(count))
    assert np.array_equal(order, permutation(seed, 2, counter, count))


def test_permutations_are_equally_likely():
    orders = [tuple(permutation(0, 1, epoch, 3)) for epoch in range(3_000)]
    counts = [orders.count(order) for order in sorted(set(orders))]
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 1e-3
