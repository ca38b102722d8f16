"""The LPIPS network of the package `lpips`. The weights of its backbone are read from disk and never downloaded."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from zoo.data.clips import counted
from zoo.data.root import data_root
from zoo.errors import ZooError

Net = Literal["squeeze", "alex", "vgg"]
_SMALLEST = 32  # pixels; the backbones would pool a smaller image to nothing
_WEIGHTS = {"squeeze": "SqueezeNet1_1_Weights", "alex": "AlexNet_Weights", "vgg": "VGG16_Weights"}


class Perceptual(nn.Module):
    """The network of the package `lpips`, split in two, so that the features of an image can be compared several times.

    Args:
        network: an `lpips.LPIPS` network.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._scaling, self._backbone = network.get_submodule("scaling_layer"), network.get_submodule("net")
        heads = network.get_submodule("lins").children()
        self._heads = nn.ParameterList(next(head.parameters()).flatten() for head in heads)  # 1×1 convs to one channel

    def features(self, images: Tensor) -> list[Tensor]:
        """Compute the features of each layer for images `(N, C, H, W)`, normalised to length 1 over channels.

        C is 1 or 3; a grey image is read as three equal channels.

        Raises:
            ZooError: if images have another number of channels, or a side below 32 pixels.
        """
        channels, *size = images.shape[1:]
        if channels not in (1, 3) or min(size) < _SMALLEST:
            raise ZooError(
                f"frames of {counted(channels, 'channel')} and {size[0]}×{size[1]} pixels cannot be measured by "
                f"LPIPS, which needs 1 or 3 channels and at least {_SMALLEST} pixels; leave LPIPS out"
            )
        layers: Sequence[Tensor] = self._backbone(self._scaling(images.expand(-1, 3, -1, -1)))
        return [layer / (layer.square().sum(-3, keepdim=True).sqrt() + 1e-10) for layer in layers]

    def distance(self, predicted: Sequence[Tensor], true: Sequence[Tensor]) -> Tensor:
        """Compute the distance `(…)` from features `(…, C, H, W)` of each layer, which broadcast against each other.

        It is the sum over layers of the weighted squared difference, averaged over the image.
        """
        layers = zip(predicted, true, self._heads, strict=True)
        return torch.stack([(a - b).square().mean((-2, -1)) @ head for a, b, head in layers]).double().sum(0)


def load_lpips(net: Net, root: Path | str | None = None, device: torch.device | str = "cpu") -> Perceptual:
    """Load the network of Zhang et al. (2018), version 0.1.

    The weights of the backbone are read from `<data root>/lpips/<net>.backbone.pth` or the cache of `torch.hub`.
    Nothing is downloaded. The linear heads ship with the package `lpips`.

    Args:
        net: the backbone: "squeeze", "alex" or "vgg".
        root: the data root; see `zoo.data.data_root`.
        device: the device of the network.

    Raises:
        ZooError: if there is no such backbone, its weights are missing, or a file does not hold them.
    """
    if net not in _WEIGHTS:
        raise ZooError(f"LPIPS has no net {net!r}; known: {', '.join(_WEIGHTS)}")
    path = _find_backbone(net, root)
    import lpips

    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):  # it draws random weights, replaced below
        warnings.simplefilter("ignore")  # lpips uses names that are deprecated in torchvision
        network = lpips.LPIPS(net=net, pretrained=True, pnet_rand=True, verbose=False)
        _fill(network.net, path)
    return Perceptual(network).eval().requires_grad_(False).to(device)


def _find_backbone(net: Net, root: Path | str | None) -> Path:
    import torchvision

    url: str = getattr(torchvision.models, _WEIGHTS[net]).IMAGENET1K_V1.url
    cached = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    own = data_root(root) / "lpips" / f"{net}.backbone.pth"
    for path in (own, cached):
        if path.is_file():
            return path
    raise ZooError(f"the weights of the {net} backbone are missing; save {url} as {cached}, or its features as {own}")


def _fill(backbone: nn.Module, path: Path) -> None:
    """Load the weights `features.<layer>.…` or `<layer>.…` into the slices `slice<n>.<layer>.…` of `lpips`."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        weights: dict[str, Tensor] = {name.removeprefix("features."): value for name, value in state.items()}
        backbone.load_state_dict({name: weights[name.partition(".")[2]] for name in backbone.state_dict()})
    except Exception as error:  # torch.load fails in many ways
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ZooError(f"{path} does not hold the weights of an LPIPS backbone ({reason}); fetch it again") from None
