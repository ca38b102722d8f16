"""The rollout: what a step reads, scheduled sampling plain and reverse, patches, bad input."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import zoo
from zoo.errors import ZooError
from zoo.predictors.recurrent import RecurrentPredictor, patchify, unpatchify
from zoo.predictors.rollout import recomputed


class Sum(RecurrentPredictor):
    """Predicts twice the frame it reads plus all it has read before: exact on integers, and it counts its calls."""

    def __init__(self, patch: int = 1) -> None:
        super().__init__(patch=patch)
        self.calls: list[int] = []

    def initial_state(self, batch: int, size: tuple[int, int], device: torch.device, dtype: torch.dtype) -> Any:
        return (torch.zeros(batch, self.patch**2, *size, device=device, dtype=dtype),)

    def read(self, frames: Tensor, state: Any) -> tuple[Tensor, Any]:
        self.calls.append(len(frames))
        sums = state[0] + frames.cumsum(0)
        return frames + sums, (sums[-1],)


def integers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 5, shape, generator=torch.Generator().manual_seed(seed)).double()


def by_hand(x: Tensor, horizon: int, truth: Tensor | None, use_truth: Tensor | None) -> Tensor:
    """Frame by frame and clip by clip."""
    observed, clips = x.shape[1], []
    for b in range(len(x)):
        total, predictions = torch.zeros_like(x[b, 0]), []
        for t in range(observed + horizon - 1):
            true = t < observed
            if use_truth is not None:
                first = observed + horizon - 1 - use_truth.shape[1]
                true = t < first or bool(use_truth[b, t - first])
            if not true:
                frame = predictions[-1]
            else:
                assert t < observed or truth is not None
                frame = x[b, t] if t < observed else truth[b, t - observed]  # type: ignore[index]
            total = total + frame
            predictions.append(frame + total)
        clips.append(torch.stack(predictions))
    return torch.stack(clips)


@given(
    observed=st.integers(1, 3),
    horizon=st.integers(1, 4),
    sampling=st.sampled_from(["none", "plain", "reverse"]),
    ratio=st.sampled_from([0.0, 0.5, 1.0]),
    patch=st.sampled_from([1, 2]),
    seed=st.integers(0, 999),
)
def test_equal_to_frame_by_frame(
    observed: int, horizon: int, sampling: str, ratio: float, patch: int, seed: int
) -> None:
    x, truth = integers(3, observed, 1, 2, 4, seed=seed), integers(3, horizon, 1, 2, 4, seed=seed + 1)
    count = {"none": None, "plain": horizon - 1, "reverse": observed + horizon - 2}[sampling]
    use_truth = None
    if count is not None:
        use_truth = torch.rand(3, count, generator=torch.Generator().manual_seed(seed)) < ratio
    predictions = Sum(patch)(x, horizon, None if use_truth is None else truth, use_truth)
    assert torch.equal(predictions, by_hand(x, horizon, truth, use_truth))


def test_frames_that_all_clips_know_are_read_together() -> None:
    model = Sum()
    x, truth = integers(2, 3, 1, 2, 2), integers(2, 4, 1, 2, 2)
    use_truth = torch.tensor([[True, True, False, True], [True, False, True, True]])
    model(x, 5, truth, use_truth)
    assert model.calls == [4, 1, 1, 1]


@pytest.mark.parametrize(
    ("batch", "side", "patch", "calls"),
    [(2, 32, 1, [4, 4, 2]), (2, 64, 2, [4, 4, 2]), (1, 16, 1, [10]), (2, 64, 1, [1] * 10), (3, 64, 1, [1] * 10)],
)
def test_no_more_are_read_together_than_stay_in_a_cache(batch: int, side: int, patch: int, calls: list[int]) -> None:
    model = Sum(patch)
    x = integers(batch, 10, 1, side, side)
    assert torch.equal(model(x, 1), by_hand(x, 1, None, None))
    assert model.calls == calls


def test_without_a_backward_pass_frames_are_read_one_by_one() -> None:
    model = Sum()
    with torch.no_grad():
        model(integers(2, 3, 1, 2, 2), 1)
    model.recompute = True
    model(integers(2, 3, 1, 2, 2), 1)
    assert model.calls == [1] * 6


@given(patch=st.integers(1, 4), rows=st.integers(1, 3), columns=st.integers(1, 3), channels=st.integers(1, 3))
def test_patches_come_back(patch: int, rows: int, columns: int, channels: int) -> None:
    frames = integers(2, 3, channels, rows * patch, columns * patch)
    folded = patchify(frames, patch)
    assert folded.shape == (2, 3, channels * patch**2, rows, columns)
    assert torch.equal(unpatchify(folded, patch), frames)


def test_the_sigmoid_is_fed_back() -> None:
    model = Sum()
    model.sigmoid = True
    x = integers(1, 1, 1, 2, 2)
    first = torch.sigmoid(2 * x[:, 0])
    assert torch.equal(model(x, 2)[:, 1], torch.sigmoid(2 * first + x[:, 0]))


MASK = torch.ones(2, 2, dtype=torch.bool)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((integers(2, 3, 1, 4, 4), 0), "horizon = 0"),
        ((integers(2, 3, 1, 4, 4), 2.0), "horizon = 2.0 must be a whole number, at least 1"),
        ((integers(2, 3, 1, 4, 4), True), "horizon = True must be a whole number"),
        ((integers(0, 3, 1, 4, 4), 2), "holds no clip; at least one is needed"),
        ((integers(2, 3, 1, 4, 4).numpy(), 2), r"x is of type ndarray, .* use torch.as_tensor\(x\)"),
        ((integers(2, 3, 4, 4), 1), "x has shape"),
        ((integers(2, 3, 1, 4, 4).byte(), 1), r"x has dtype torch.uint8, .* use x.float\(\) / 255 for bytes"),
        ((integers(2, 0, 1, 4, 4), 1), "x has shape"),
        ((integers(2, 3, 2, 4, 4), 1), "x has shape"),
        ((integers(2, 3, 1, 4, 3), 1), "4×3 pixels cannot be divided"),
        ((integers(2, 3, 1, 4, 4), 3, integers(2, 1, 1, 4, 4)), "truth has shape"),
        ((integers(2, 3, 1, 4, 4), 3, integers(2, 2, 1, 4, 2)), "truth has shape"),
        ((integers(2, 3, 1, 4, 4), 3, None, MASK), "without truth"),
        ((integers(2, 3, 1, 4, 4), 3, integers(2, 2, 1, 4, 4), MASK[:, :1]), "use_truth has shape"),
        ((integers(2, 3, 1, 4, 4), 3, integers(2, 2, 1, 4, 4), MASK.double()), "use_truth has shape"),
    ],
)
def test_bad_input(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(ZooError, match=words):
        Sum(patch=2)(*arguments)


FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


@pytest.mark.parametrize("weights", FLOATS)
@pytest.mark.parametrize("frames", FLOATS)
def test_frames_have_the_precision_of_the_weights(weights: torch.dtype, frames: torch.dtype) -> None:
    model = zoo.create_model("conv-lstm", hidden=[2], layers=[1], kernel=3).to(weights)
    x = torch.rand(1, 2, 1, 4, 4).to(frames)
    if weights == frames:
        assert model(x, 2).dtype == weights
        return
    theirs, ours = (str(dtype).removeprefix("torch.") for dtype in (frames, weights))
    with pytest.raises(ZooError, match=f"x is {theirs}, but the weights are {ours}; use x.* or model"):
        model(x, 2)


@pytest.mark.parametrize(
    ("name", "shape"), [("conv-gru", (1, 2, 1, 64, 64)), ("mcnet", (1, 2, 1, 32, 32)), ("tt-lstm", (1, 2, 3))]
)
def test_models_that_are_not_recurrent_predictors_check_tensors_and_precision_too(
    name: str, shape: tuple[int, ...]
) -> None:
    model, x = zoo.create_model(name).eval(), torch.rand(*shape)
    with pytest.raises(ZooError, match=r"use x.float\(\) or model.double\(\)"):
        model(x.double(), 2)
    with pytest.raises(ZooError, match="x is of type ndarray"):
        model(x.numpy(), 2)


def test_recomputed_steps_draw_the_same_random_numbers() -> None:
    x = torch.ones(1000, requires_grad=True)
    y = recomputed(lambda x: torch.nn.functional.dropout(x * x), x)
    y.sum().backward()  # calls the function again
    assert x.grad is not None
    assert torch.equal(x.grad, 2 * y.detach())  # y is the mask, and its derivative 2x times the mask
    assert 0 < int((y == 0).sum()) < 1000


def test_autocast_converts_frames() -> None:
    model = zoo.create_model("conv-lstm", hidden=[2], layers=[1], kernel=3)
    x = torch.rand(1, 2, 1, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(x, 2).isfinite().all()
        assert model(x.bfloat16(), 2).isfinite().all()
        with pytest.raises(ZooError, match=r"use x.float\(\) or model.double\(\)"):
            model(x.double(), 2)


def test_bad_patch() -> None:
    with pytest.raises(ZooError, match="patch = 0"):
        Sum(patch=0)
