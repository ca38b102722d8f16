"""Rules of the sampling ratio and the learning rate, the order of clips, and the draws."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zoo import settings
from zoo.errors import ZooError
from zoo.training.batches import StepSampler
from zoo.training.learning_rates import make_rate
from zoo.training.scheduled_sampling import draw_truth, make_sampling

EPOCH = 7
LOSSES = st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4, math.nan]), max_size=25)
STRAIGHT = [
    st.builds(kind, start=st.integers(0, 40), stop=st.integers(40, 90))
    for kind in (settings.LinearSampling, settings.ReverseSampling)
]
SAMPLING = st.one_of(
    st.builds(settings.PlateauSampling, patience=st.integers(0, 4), decay=st.sampled_from([0.0, 0.2, 0.5, 2.0])),
    *STRAIGHT,
)
RATE = st.one_of(
    st.builds(
        settings.PlateauRate,
        base=st.just(0.125),
        patience=st.integers(0, 4),
        factor=st.sampled_from([0.5, 0.98]),
        every=st.integers(1, 3),
    ),
    st.builds(settings.ConstantRate, base=st.just(0.125)),
    st.builds(settings.CosineRate, base=st.just(0.125), warmup=st.integers(0, 30)),
)


def epochs(losses: list[float], patience: int, rate: float, factor: float, every: int) -> list[tuple[float, float]]:
    """The plateau rules written as the papers tell them, epoch by epoch: ratio and factor in each."""
    best, since, falling, decaying = math.inf, 0, None, None
    expected = []
    for epoch in range(len(losses) + 1):
        expected.append(
            (
                1.0 if falling is None else max(0.0, 1 - rate * (epoch - falling)),
                1.0 if decaying is None else factor ** ((epoch - decaying) // every),
            )
        )
        if epoch == len(losses):
            break
        since += 1
        if losses[epoch] < best:
            best, since = losses[epoch], 0
        elif falling is None and since >= patience:
            falling, since = epoch + 1, 0
        elif falling is not None and decaying is None and since >= patience:
            decaying = epoch + 1
    return expected


@given(LOSSES, st.integers(1, 4), st.sampled_from([0.0, 0.2, 0.5]), st.integers(1, 3))
def test_plateau_rules(losses: list[float], patience: int, rate: float, every: int) -> None:
    """Two waits, the second from when the ratio began to fall."""
    if losses:
        losses[0] = 1.0  # a first epoch that is better than nothing
    sampling = make_sampling(settings.PlateauSampling(patience=patience, decay=rate), EPOCH)
    learning = make_rate(settings.PlateauRate(base=0.1, patience=patience, factor=0.5, every=every), EPOCH, 1000)
    for epoch, (ratio, factor) in enumerate(epochs(losses, patience, rate, 0.5, every)):
        for step in (epoch * EPOCH, (epoch + 1) * EPOCH - 1):  # the same all through an epoch
            assert sampling.ratio(step) == pytest.approx(ratio)
            assert learning.rate(step) == pytest.approx(0.1 * factor)
        if epoch < len(losses):
            step = (epoch + 1) * EPOCH
            sampling.observe(step, losses[epoch])
            learning.observe(step, losses[epoch], sampling.fall(step))


def test_teacher_forcing_has_one_wait() -> None:
    """The ratio of true frames never falls, so the decay of the rate does not wait for it (Table 3 of the paper)."""
    sampling = make_sampling(settings.NoSampling(), EPOCH)
    learning = make_rate(settings.PlateauRate(base=0.1, patience=3, factor=0.5, every=2), EPOCH, 1000)
    for epoch, loss in enumerate([1.0, 0.5, 0.7, 0.6, 0.5, 0.5, 0.5], start=1):
        learning.observe(epoch * EPOCH, loss, sampling.fall(epoch * EPOCH))
    assert [learning.rate(epoch * EPOCH) for epoch in (5, 6, 7, 9)] == [0.1, 0.1, 0.05, 0.025]


@given(SAMPLING, RATE, LOSSES, st.integers(0, 25))
def test_state_is_all_that_rules_remember(
    first: settings.Sampling, second: settings.LearningRate, losses: list[float], at: int
) -> None:
    """Rules restored from a state dictionary of plain values behave like rules that never stopped."""

    def make() -> tuple:
        return make_sampling(first, EPOCH), make_rate(second, EPOCH, 150)

    (sampling, rate), rates, ratios = make(), [], []
    for again in (False, True):
        sampling, rate = make()
        for n, loss in enumerate(losses):
            step = (n + 1) * 5
            if again and n == at:
                saved = sampling.state_dict(), rate.state_dict()
                assert all(type(value) in (int, float) for state in saved for value in state.values())
                sampling, rate = make()
                sampling.load_state_dict(saved[0])
                rate.load_state_dict(saved[1])
            sampling.observe(step, loss)
            rate.observe(step, loss, sampling.fall(step))
        ratios.append([sampling.ratio(step) for step in range(150)])
        rates.append([rate.rate(step) for step in range(150)])
        assert all(0 <= ratio <= 1 for ratio in ratios[-1])
        assert all(0 <= value <= 0.125 for value in rates[-1])
    assert ratios[0] == ratios[1]
    assert rates[0] == rates[1]


def test_linear_sampling_is_predrnn_pp() -> None:
    """2e-5 less in each iteration, 0 at 50,000."""
    rule = make_sampling(settings.LinearSampling(start=0, stop=50_000), 1250)
    assert [rule.ratio(step) for step in (0, 1, 25_000, 50_000, 80_000)] == pytest.approx([1, 1 - 2e-5, 0.5, 0, 0])
    assert rule.fall(3) == 0
    assert make_sampling(settings.LinearSampling(start=9, stop=9), 1).ratio(8) == 1
    assert make_sampling(settings.LinearSampling(start=9, stop=9), 1).fall(8) is None


@given(SAMPLING, st.integers(0, 100), st.integers(1, 5), st.integers(1, 5))
def test_ratio_of_every_frame(sampling: settings.Sampling, step: int, observed: int, horizon: int) -> None:
    """Only reverse sampling decides about observed frames; the others about the frames beyond them, all alike."""
    rule = make_sampling(sampling, EPOCH)
    if sampling.schedule == "plateau":
        assert rule.ratios(step, observed, horizon) == [rule.ratio(step)] * (horizon - 1)
        return
    line = min(1.0, max(0.0, (sampling.stop - step) / max(1, sampling.stop - sampling.start)))
    if sampling.schedule == "reverse":
        assert rule.ratio(step) == line / 2
        assert rule.ratios(step, observed, horizon) == [1 - line / 2] * (observed - 1) + [line / 2] * (horizon - 1)
    else:
        assert rule.ratios(step, observed, horizon) == [rule.ratio(step)] * (horizon - 1)


def test_cosine_rises_and_falls() -> None:
    rule = make_rate(settings.CosineRate(base=0.5, warmup=10), 5, 110)
    rates = [rule.rate(step) for step in range(111)]
    assert rates[:10] == pytest.approx([0.05 * (n + 1) for n in range(10)])
    assert rates[60] == pytest.approx(0.25)
    assert rates[110] == pytest.approx(0)
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert make_rate(settings.ConstantRate(base=0.5), 5, 110).rate(77) == 0.5


@given(
    st.integers(0, 2**64 - 1),
    st.integers(1, 23),
    st.integers(1, 9),
    st.integers(0, 20),
    st.booleans(),
    st.integers(1, 12),
)
def test_any_step_can_be_the_first(seed: int, clips: int, batch: int, start: int, endless: bool, count: int) -> None:
    whole = list(StepSampler(seed, clips, batch, start + count, endless=endless))
    late = StepSampler(seed, clips, batch, start + count, endless=endless, start=start)
    assert list(late) == whole[start:]
    assert len(late) == count
    assert list(late) == whole[start:], "a second pass gives the same"


@given(st.integers(0, 99), st.integers(1, 23), st.integers(1, 9))
def test_every_epoch_visits_every_clip_once(seed: int, clips: int, batch: int) -> None:
    batches = StepSampler(seed, clips, batch, steps=3 * clips)
    visits = np.array(list(batches)).reshape(-1)[: 3 * clips].reshape(3, clips)
    assert (np.sort(visits) == np.arange(clips)).all()
    if clips > 9:
        assert not (visits[0] == visits[1]).all(), "each epoch has an order of its own"
    assert (
        np.array(list(StepSampler(seed, clips, batch, 5, endless=True))) == np.arange(5 * batch).reshape(5, -1)
    ).all()


def test_batches_depend_on_the_seed() -> None:
    assert list(StepSampler(0, 50, 5, 4)) != list(StepSampler(1, 50, 5, 4))


@pytest.mark.parametrize("batch", [-2, 0])
def test_batch_must_be_positive(batch: int) -> None:
    with pytest.raises(ZooError, match=f"batch = {batch}"):
        StepSampler(0, 10, batch, 5)


def test_draws() -> None:
    """Their share is the ratio; they differ between steps, samples, frames and seeds; each frame may have its own."""
    drawn = torch.stack([draw_truth(0, step, range(16), 16, [0.3] * 9) for step in range(200)])
    assert drawn.dtype == torch.bool
    assert drawn.device.type == "cpu"
    assert drawn.shape == (200, 16, 9)
    assert drawn.double().mean().item() == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / drawn.numel()))
    for dim in range(3):
        assert not torch.equal(drawn, drawn.roll(1, dim))
    assert not torch.equal(draw_truth(1, 0, range(16), 16, [0.3] * 9), drawn[0])
    assert draw_truth(0, 0, range(16), 16, [1.0] * 9).all()
    assert not draw_truth(0, 0, range(16), 16, [0.0] * 9).any()
    assert draw_truth(0, 0, range(4), 4, [0.5] * 0).shape == (4, 0)
    ratios = [1.0, 0.5, 0.0]
    per_frame = torch.cat([draw_truth(0, step, range(16), 16, ratios) for step in range(100)]).double().mean(0)
    assert per_frame.tolist() == pytest.approx([1, 0.5, 0], abs=0.06)
