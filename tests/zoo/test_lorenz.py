"""Series of the Lorenz system: they solve its equations, and each clip follows from seed, split and index alone."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import zoo
from zoo.data import Lorenz, make_dataset, pin_data
from zoo.data.lorenz import HIGH, LOW, integrate
from zoo.errors import ZooError
from zoo.settings import LorenzData


@pytest.fixture(scope="module")
def test_split() -> Lorenz:
    return Lorenz("test", length=40)


def velocity(t: float, point: np.ndarray) -> list[float]:
    x, y, z = point
    return [10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z]


def test_the_values_solve_the_equations(test_split: Lorenz) -> None:
    """From each step to the next, by another method with an error far below that of single precision."""
    values = test_split[3].double().numpy() * (HIGH - LOW) + LOW
    for before, after in itertools.pairwise(values):
        solution = solve_ivp(velocity, (0, test_split.interval), before, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(solution.y[:, -1], after, atol=2e-4)


def test_a_clip_follows_from_seed_split_and_index(test_split: Lorenz) -> None:
    clips = test_split.clips([5, 2, 900])
    assert clips.shape == (3, 40, 3)
    assert clips.dtype == torch.float32
    assert torch.equal(test_split[2], clips[1])
    assert torch.equal(Lorenz("test", length=40).clips([900, 5]), clips[[2, 0]])
    assert torch.equal(Lorenz("test", length=60).clips([5])[:, :40], clips[:1])
    assert torch.equal(Lorenz("test", length=40, endless=True).clips([5, 2**62])[0], clips[0])
    for other in (Lorenz("test", length=40, seed=1), Lorenz("val", length=40)):
        assert (other.clips([5, 2, 900]) - clips).abs().amax((1, 2)).min() > 0.01
    assert torch.equal(pickle.loads(pickle.dumps(test_split)).clips([7]), test_split.clips([7]))


def test_splits_have_other_trajectories() -> None:
    """No clip of one split lies along a clip of another, as two clips of one trajectory may."""
    train, test = (Lorenz(split, length=5) for split in ("train", "test"))
    steps = {each.split: set(map(tuple, each.clips(range(1000)).flatten(0, 1).tolist())) for each in (train, test)}
    assert len(steps["train"]) < 5000, "clips of one split share trajectories"
    assert not steps["train"] & steps["test"]


def test_columns_are_scaled_and_their_mean_is_that_of_the_attractor(test_split: Lorenz) -> None:
    clips = test_split.clips(range(1000))
    assert 0 < clips.min() < 0.1
    assert 0.9 < clips.max() < 1
    torch.testing.assert_close(test_split.mean, torch.tensor([0.5, 0.5, 0.471]), atol=0.01, rtol=0)  # z: 23.55
    assert (clips - test_split.mean).square().mean().sqrt() == pytest.approx(0.177, abs=0.01)
    assert (test_split.columns, test_split.interval, len(test_split)) == (("x", "y", "z"), 0.05, 1000)


def test_neighbours_part_at_the_known_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest Lyapunov exponent is 0.906 for each time unit."""
    monkeypatch.setattr("zoo.data.lorenz.TRANSIENT", 4000)
    starts = integrate(np.random.default_rng(0).uniform(LOW, HIGH, (100, 3)), 1)[:, 0]
    monkeypatch.setattr("zoo.data.lorenz.TRANSIENT", 0)
    near, far = (integrate(starts + shift, 200) for shift in (0.0, 1e-9))
    distance = np.log(np.linalg.norm(far - near, axis=-1)).mean(0)
    assert (distance[199] - distance[40]) / (0.05 * 159) == pytest.approx(0.906, abs=0.06)


def test_settings_make_the_data_set() -> None:
    data = LorenzData(clips_per_epoch=7, seed=3)
    assert pin_data(data) is data
    train = make_dataset(data, "train")
    assert (len(train), train.length, train.describe()) == (
        7,
        40,
        "Lorenz series train: 7 clips of 40 steps of 0.05 time units, from 128 trajectories",
    )
    assert torch.equal(train.clips([6]), Lorenz("train", length=40, seed=3).clips([6]))
    test = make_dataset(data, "test", length=50)
    assert torch.equal(test[1], Lorenz("test", length=50)[1])  # test clips are the same for every seed
    assert train.digest() == test.digest()
    assert train.left_out() == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"split": "all"}, "split"),
        ({"length": 0}, "length = 0"),
        ({"count": 1.5}, "count = 1.5"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_bad_options(options: dict[str, object], words: str) -> None:
    with pytest.raises(ZooError, match=words):
        Lorenz(**options)  # type: ignore[arg-type]


def test_bad_indices(test_split: Lorenz) -> None:
    for indices in ([1000], [-1], [0.5], 3):
        with pytest.raises(ZooError):
            test_split.fetch(indices)  # type: ignore[arg-type]
    assert zoo.Lorenz is Lorenz
