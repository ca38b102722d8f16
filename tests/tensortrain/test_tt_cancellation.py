"""Trains whose channels cancel: what earlier cores read as zero must not carry a part of the value."""

import pytest
import torch
from torch import Tensor

from tensortrain.tt.interfaces import on_row_space
from tensortrain.tt.tensor_train import TensorTrain
from tests.support.trains import F64


def core(entries: list[list[list[float]]], dtype: torch.dtype = F64) -> Tensor:
    return torch.tensor(entries, dtype=dtype)


def cancelling(power: int) -> TensorTrain:
    """A train, times `2**power`, whose first cores read one channel of the third bond as exactly zero."""
    return TensorTrain(
        [
            core([[[-1, 2], [-1, 2]]]),
            core([[[-2, 0]], [[-1, 1]]]),
            core([[[0, 32, -0.125], [-2, -32, 0.25]], [[1, 64, -0.125], [-1, 32, 0.125]]]),
            core([[[-1], [-2]], [[-0.0625], [0]], [[-8], [16]]]) * 2.0**power,
        ]
    )


@pytest.mark.parametrize("power", [30, -30, 300])
def test_a_channel_that_cancels_receives_no_part_of_the_value(power: int) -> None:
    train = cancelling(power)
    dense = train.reconstruct()
    assert float(train.norm() / dense.norm()) == pytest.approx(1, rel=1e-13)
    rounded = train.round(rtol=0.5)
    assert rounded.error == pytest.approx(float((rounded.reconstruct() - dense).norm() / dense.norm()), abs=1e-12)


def test_a_channel_that_cancels_in_single_precision() -> None:
    train = TensorTrain(
        [
            core([[[1, -0.5], [-2, 1]]], torch.float32),
            core([[[-2, 1, -1024]], [[0, -0.5, -2048]]], torch.float32),
            core([[[1]], [[-2]], [[-(2.0**-10)]]], torch.float32) * 2.0**20,
        ]
    )
    assert float(train.norm() / train.reconstruct().norm()) == pytest.approx(1, rel=1e-5)


def nearly_cancelling(seed: int) -> TensorTrain:
    """An integer train with channels that are the same up to some power of two, at scaled bonds."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=generator).to(F64)

    order = 3 + seed % 4
    ranks = [1, *(int(rank) for rank in draw(2, 5, order - 1)), 1]
    cores = [draw(-2, 3, ranks[l], 1 + (seed + l) % 2, ranks[l + 1]) for l in range(order)]
    for l in range(order - 1):
        cores[l][..., 0] = cores[l][..., 1] + draw(-2, 3, *cores[l].shape[:2]) * 2.0 ** -float(draw(1, 5, 1) * 10)
        scale = 2.0 ** draw(-25, 26, ranks[l + 1])
        cores[l], cores[l + 1] = cores[l] * scale, cores[l + 1] / scale[:, None, None]
    return TensorTrain([*cores[:-1], cores[-1] * 2.0**30])


def test_channels_that_cancel_in_part_keep_their_digits() -> None:
    """The error is at most rounding error of the largest terms, whatever the scales of the bonds."""
    for seed in range(60):
        train = nearly_cancelling(seed)
        dense = train.reconstruct()
        terms = TensorTrain([part.abs() for part in train.cores]).norm()
        assert float((train.norm() - dense.norm()).abs() / terms) < 1e-13
        assert float((train.round(rtol=0.0).reconstruct() - dense).norm() / terms) < 1e-13


def test_a_small_channel_behind_a_large_one_survives_rounding() -> None:
    """The first channel cancels and is large on both sides of the bond, and the last holds the value."""
    train = TensorTrain([core([[[0, -(2.0**60), 2], [0, 3 * 2.0**60, 0]]]), core([[[-(2.0**60)]], [[0]], [[-4]]])])
    rounded = train.round(rtol=1e-3)
    torch.testing.assert_close(rounded.reconstruct(), train.reconstruct())


def test_rounding_does_not_exchange_accuracy_for_smaller_carries() -> None:
    """Channels of the first bond that are the same up to `2**-21`, and a carry of `2**27`."""
    fine = -0.015625007450580597
    third = [[0.0, 1024, -65536, -2], [-1024, 1024, 0, -4]]
    train = TensorTrain(
        [
            core([[[128, -0.015625, -0.0078125], [-128, -0.03125, fine]]]),
            core(
                [
                    [[-0.03125, -0.03125, 8, 0], [-0.03125, 0.03125, 4, 0]],
                    [[0, 128, -16384, 0.5], [256, 0, 32768, 0]],
                    third,
                ]
            ),
            core([[[2**30], [2**30]], [[-(2**29)], [-(2**30)]], [[2**23], [0]], [[-(2**38)], [-(2**38)]]]),
        ]
    )
    torch.testing.assert_close(train.round(rtol=0.0).reconstruct(), train.reconstruct(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [F64, torch.complex128])
def test_projections_on_a_row_space_are_accurate_for_tiny_columns(dtype: torch.dtype) -> None:
    matrix = torch.tensor([[3.7e-11, 1, -1], [0, -0.5, 0.5]], dtype=dtype)
    vectors = torch.tensor([[0], [1], [0]], dtype=dtype)
    assert float((matrix @ (on_row_space(matrix, vectors) - vectors)).norm()) < 1e-15
