"""The adversarial part of MCnet: a network that tells true clips from those with predicted frames."""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.errors import ZooError

SURE, LOST = 0.3, 0.7  # losses of the discriminator below which it is good enough, and above which it is too poor


class Adversary(nn.Module):
    """Scores whole clips, their frames stacked as channels, and turns the scores into a loss.

    Four convolutions of stride 2, batch norm from the second on, and a linear map to one number. Batch norm goes by
    the clips at hand in every mode, so it keeps no running averages. As in the published count, the convolutions before
    a batch norm have biases, which it takes away again.

    Villegas et al., "Decomposing motion and content for natural video sequence prediction", ICLR 2017, section 3.4 and
    the authors' code. There the two networks take turns; here both losses are of the same predictions, and one step
    changes both networks. As in the authors' code a discriminator learns only while neither of its losses is below 0.3,
    a generator only while both are below 0.7, and both do if neither would: the loss of one that does not counts zero.

    Args:
        clip: frames, height and width of the clips, the observed frames included; 16 must divide both sides.
        base: channels of the first convolution; each of the next has twice as many.
        channels: C of the frames.

    >>> sum(p.numel() for p in Adversary((20, 128, 128), base=64, channels=1).parameters())
    4368321
    """

    def __init__(self, clip: Sequence[int], base: int, channels: int) -> None:
        super().__init__()
        if len(clip) != 3 or min(clip) < 1 or clip[1] % 16 or clip[2] % 16:
            raise ZooError(
                f"clip = {list(clip)} must be frames, height and width of the clips to judge, "
                "height and width multiples of 16"
            )
        self.clip = (int(clip[0]), int(clip[1]), int(clip[2]))
        frames, height, width = self.clip
        widths = [base, 2 * base, 4 * base, 8 * base]
        layers: list[nn.Module] = [nn.Conv2d(frames * channels, base, 5, stride=2, padding=2), nn.LeakyReLU(0.2)]
        for below, above in itertools.pairwise(widths):
            convolution = nn.Conv2d(below, above, 5, stride=2, padding=2)
            layers += [convolution, nn.BatchNorm2d(above, track_running_stats=False), nn.LeakyReLU(0.2)]
        self.score = nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * (height // 16) * (width // 16), 1))

    def forward(self, clips: Tensor) -> Tensor:
        """Scores `(B, 1)` of clips `(B, T, C, H, W)` in [0, 1]; high ones for clips that look true."""
        scores: Tensor = self.score(2 * clips.flatten(1, 2) - 1)
        return scores

    def loss(self, predicted: Tensor, true: Tensor, weight: float) -> Tensor:
        """What both networks minimise: the generator `weight` times how surely its clips are told from true ones, the
        discriminator its cross-entropy. Neither sees the gradient of the other's part.

        Args:
            predicted: clips with predicted frames, `(B, T, C, H, W)`.
            true: the true clips.
            weight: β.

        Raises:
            ZooError: clips of another shape than the network is made for.
        """
        shape = (true.shape[1], *true.shape[3:])
        if shape != self.clip:
            raise ZooError(
                f"clips of {shape[0]} frames of {shape[1]}×{shape[2]} pixels do not fit clip = {list(self.clip)}; "
                f"make the model with clip = {list(shape)}"
            )
        of_true, of_predicted = self(true), self(predicted.detach())
        real = F.binary_cross_entropy_with_logits(of_true, torch.ones_like(of_true))
        fake = F.binary_cross_entropy_with_logits(of_predicted, torch.zeros_like(of_predicted))
        frozen = {name: parameter.detach() for name, parameter in self.named_parameters()}
        fooled = torch.func.functional_call(self, frozen, (predicted,))
        fooling = F.binary_cross_entropy_with_logits(fooled, torch.ones_like(fooled))
        # masks, not branches: the host need not know the losses
        losses = torch.stack([real, fake]).detach()
        discriminates, generates = losses.min() > SURE, losses.max() < LOST
        neither = ~(discriminates | generates)
        return (real + fake) / 2 * (discriminates | neither) + weight * fooling * (generates | neither)
