"""What the systems of the papers' tables can be made with: MCnet's adversary, CDNA's siblings, and bits that repeat."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from tests.support.reference import shipped_models
from tests.support.tiny import build, clips
from zoo.errors import ZooError
from zoo.networks.adversary import Adversary
from zoo.networks.motion_kernels import move_affinely, move_each_pixel
from zoo.training.checks import check_repeatable

OBSERVED, HORIZON = 3, 3
JUDGED = {"adversarial": 0.5, "clip": [OBSERVED + HORIZON, 16, 16]}


def losses(model: Any, frames: Tensor) -> Tensor:
    return model.loss(model(frames[:, :OBSERVED], HORIZON), frames, l1=0.0)


def gradients(model: Any, loss: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(
        zip(names, torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True), strict=True)
    )


def test_the_generator_has_no_adversary_by_default() -> None:
    assert not [name for name in build("mcnet").state_dict() if "adversary" in name]


def test_count_of_the_discriminator() -> None:
    with torch.device("meta"):
        without, judged = (zoo.create_model("mcnet", adversarial=weight) for weight in (0.0, 0.02))
    counts = [sum(p.numel() for p in model.parameters()) for model in (without, judged)]
    assert counts[1] - counts[0] == 4_368_321


def test_each_network_learns_from_its_own_loss() -> None:
    frames = clips(OBSERVED + HORIZON, batch=4, dtype=torch.float64)
    model = build("mcnet", **JUDGED).double()
    adversary = model.adversary
    with torch.no_grad():  # scores near zero, so that both learn
        adversary.score[-1].weight.mul_(0.01)
        adversary.score[-1].bias.zero_()
    predictions = model(frames[:, :OBSERVED], HORIZON)
    image = gradients(model, zoo.VideoModel.loss(model, predictions, frames, l1=0.0))
    both = gradients(model, losses(model, frames))
    whole = torch.cat([frames[:, :OBSERVED], model(frames[:, :OBSERVED], HORIZON)], 1)
    of_true, of_predicted = -adversary(frames), adversary(whole.detach())
    told_apart = gradients(model, torch.cat([of_true, of_predicted]).exp().log1p().mean())
    fooling = gradients(model, 0.5 * (-adversary(whole)).exp().log1p().mean())
    for name, gradient in both.items():
        own = told_apart[name] if name.startswith("adversary") else image[name] + fooling[name]
        torch.testing.assert_close(gradient, own, rtol=0, atol=1e-12)
    assert fooling["decoder.0.1.weight"].any()
    assert told_apart["adversary.score.0.weight"].any()


@pytest.mark.parametrize(
    ("of_true", "of_predicted", "discriminates", "generates"),
    [
        (0.0, 0.0, True, True),  # losses of 0.69: neither is told from the other
        (3.0, -3.0, False, True),  # 0.05: told apart for sure
        (-1.0, 1.0, True, False),  # 1.31: mistaken
        (3.0, 3.0, True, True),  # 0.05 and 3.05: neither would learn, so both do
    ],
)
def test_a_network_that_is_far_ahead_waits(
    of_true: float, of_predicted: float, discriminates: bool, generates: bool
) -> None:
    class Fixed(Adversary):
        def forward(self, clips: Tensor) -> Tensor:
            return (of_true if bool(clips[0, 0, 0, 0, 0] > 0.5) else of_predicted) + self.shift.expand(len(clips), 1)

    adversary = Fixed((1, 16, 16), 1, 1)
    adversary.shift = torch.nn.Parameter(torch.zeros(1))
    true, predicted = torch.ones(2, 1, 1, 16, 16), torch.zeros(2, 1, 1, 16, 16)
    loss = adversary.loss(predicted, true, weight=100.0).item()
    part = torch.nn.functional.softplus(torch.tensor([-of_true, of_predicted])).mean().item()
    fooling = torch.nn.functional.softplus(torch.tensor(-of_predicted)).item()
    assert loss == pytest.approx(discriminates * part + generates * 100 * fooling, rel=1e-5)


def test_validation_reports_the_error_of_frames_alone() -> None:
    frames = clips(OBSERVED + HORIZON)
    judged, alone = build("mcnet", **JUDGED), build("mcnet")
    alone.load_state_dict({name: value for name, value in judged.state_dict().items() if "adversary" not in name})
    assert losses(judged.eval(), frames) == losses(alone.eval(), frames)
    assert losses(judged.train(), frames) > losses(alone.train(), frames)


def test_clips_that_the_adversary_was_not_made_for_are_refused() -> None:
    model = build("mcnet", adversarial=0.1, clip=[6, 32, 16])
    with pytest.raises(ZooError, match=r"make the model with clip = \[6, 16, 16\]"):
        losses(model, clips(6))
    for options in ({"clip": [6, 24, 24]}, {"clip": [6, 16]}):
        with pytest.raises(ZooError, match="must be the number of frames, the height and the width"):
            build("mcnet", adversarial=0.1, **options)
    with pytest.raises(ZooError, match="adversarial = -1"):
        build("mcnet", adversarial=-1)


# ---- the siblings of CDNA -----------------------------------------------------------------------------------


@pytest.mark.parametrize("motion", ["dna", "stp"])
@pytest.mark.parametrize("form", ["paper", "released"])
def test_every_parameter_of_the_siblings_has_a_gradient(motion: str, form: str) -> None:
    model = build("cdna", motion=motion, form=form).double()
    torch.nn.init.ones_(model.masks.bias)  # beyond the ReLU of the released form
    x = clips(3, dtype=torch.float64)
    predictions = model(x, 3)
    assert predictions.shape == (2, 5, 1, 16, 16)
    assert 0 <= float(predictions.detach().min()) <= float(predictions.detach().max()) <= 1
    predictions.square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_pixels_are_filtered_each_by_its_own_kernel() -> None:
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(2, 3, 5, 6, generator=generator, dtype=torch.float64)
    kernels = torch.rand(2, 5, 6, 3, 3, generator=generator, dtype=torch.float64)
    padded = torch.nn.functional.pad(frames, (1, 1, 1, 1))
    moved = move_each_pixel(frames, kernels)
    for y in range(5):
        for x in range(6):
            expected = (padded[:, :, y : y + 3, x : x + 3] * kernels[:, None, y, x]).sum((-1, -2))
            torch.testing.assert_close(moved[:, 0, :, y, x], expected)


def test_a_quarter_turn_is_that_of_torch() -> None:
    frames = torch.rand(2, 3, 6, 6, dtype=torch.float64)
    turn = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]], dtype=torch.float64) - torch.eye(2, 3)
    moved = move_affinely(frames, turn.expand(2, 1, 2, 3))
    torch.testing.assert_close(moved[:, 0], torch.rot90(frames, 1, (2, 3)))


def test_a_motion_that_is_none_is_refused() -> None:
    with pytest.raises(ZooError, match="motion = 'sdna'"):
        build("cdna", motion="sdna")


# ---- the same bits every time ---------------------------------------------------------------------------------


def test_what_does_not_repeat_on_a_gpu_is_refused_by_name() -> None:
    operators = {"traj-gru": "grid_sample", "e3d-lstm": "scaled_dot_product_attention"}
    for name in shipped_models():
        recipe, model = zoo.recipe(name), build(name)
        assert model.unrepeatable == operators.get(name, "")
        check_repeatable(recipe, model, torch.device("cpu"))
        fastest = replace(recipe, training=replace(recipe.training, deterministic=False))
        check_repeatable(fastest, model, torch.device("cuda"))
        if name in operators:
            with pytest.raises(ZooError, match=f"{name} does not compute the same bits every time.*{operators[name]}"):
                check_repeatable(recipe, model, torch.device("cuda"))
        else:
            check_repeatable(recipe, model, torch.device("cuda"))
    assert build("cdna", motion="stp").unrepeatable == "grid_sample"
