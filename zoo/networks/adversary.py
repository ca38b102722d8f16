"""The adversarial part of MCnet: a network that distinguishes true clips from clips with predicted frames."""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.errors import ZooError

SURE, LOST = 0.3, 0.7  # below SURE, the discriminator's losses are good enough; above LOST, they are too poor


class Adversary(nn.Module):
    """A discriminator: it scores whole clips, whose frames are stacked as channels, and turns the scores into a loss.

    It has four convolutions of stride 2, batch norm from the second one on, and a linear map to one number. Batch norm
    always uses the statistics of the current clips, so it keeps no running averages. The convolutions before a batch
    norm have biases, as in the published parameter count, although the norm cancels them.

    Villegas et al., "Decomposing motion and content for natural video sequence prediction", ICLR 2017, section 3.4, and
    the authors' code. In their training the two networks alternate. Here, both losses are computed from the same
    predictions, and one step updates both networks. As in the authors' code, the discriminator learns only while both
    of its losses are at least 0.3, and the generator only while both are below 0.7. If neither would learn, both do.
    The loss of a network that does not learn is multiplied by zero.

    Args:
        clip: number of frames (the observed ones included), height and width of the clips. Both sides must be multiples
            of 16.
        base: channels of the first convolution; each further one has twice as many.
        channels: C of the frames.

    Raises:
        ZooError: if `clip` is not three numbers as above.

    >>> sum(p.numel() for p in Adversary((20, 128, 128), base=64, channels=1).parameters())
    4368321
    """

    def __init__(self, clip: Sequence[int], base: int, channels: int) -> None:
        super().__init__()
        if len(clip) != 3 or min(clip) < 1 or clip[1] % 16 or clip[2] % 16:
            raise ZooError(
                f"clip = {list(clip)} must be the number of frames, the height and the width of the clips, "
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
        """Map clips `(B, T, C, H, W)` in [0, 1] to scores `(B, 1)`, which are high for clips that look true."""
        scores: Tensor = self.score(2 * clips.flatten(1, 2) - 1)
        return scores

    def loss(self, predicted: Tensor, true: Tensor, weight: float) -> Tensor:
        """The loss of both networks: the generator's, times `weight`, plus the discriminator's.

        The generator's loss is the cross-entropy of its clips being judged true. The discriminator's loss is its
        cross-entropy on true and predicted clips. Neither network gets a gradient from the other's loss.

        Args:
            predicted: clips with predicted frames, `(B, T, C, H, W)`.
            true: the true clips, of the same shape.
            weight: β, the weight of the generator's loss.

        Raises:
            ZooError: if the clips do not have the shape that the network was made for.
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
        # masks instead of branches, so that the CPU need not wait for the values of the losses
        losses = torch.stack([real, fake]).detach()
        discriminates, generates = losses.min() > SURE, losses.max() < LOST
        neither = ~(discriminates | generates)
        return (real + fake) / 2 * (discriminates | neither) + weight * fooling * (generates | neither)
