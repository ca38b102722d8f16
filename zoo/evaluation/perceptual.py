"""The LPIPS network of package `lpips`. Weights of its backbone are read from disk, never downloaded."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from zoo.data.root import data_root
from zoo.errors import ZooError

Net = Literal["squeeze", "alex", "vgg"]
_SMALLEST = 32  # pixels; the pooling of the backbones would leave nothing of a smaller image
_WEIGHTS = {"squeeze": "SqueezeNet1_1_Weights", "alex": "AlexNet_Weights", "vgg": "VGG16_Weights"}


class Perceptual(nn.Module):
    """The network of package `lpips`, split in two, so that the features of an image can be compared several times.

    Args:
        network: an `lpips.LPIPS`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._scaling, self._backbone = network.get_submodule("scaling_layer"), network.get_submodule("net")
        heads = network.get_submodule("lins").children()
        self._heads = nn.ParameterList(next(head.parameters()).flatten() for head in heads)  # 1×1 convs to one channel

    def features(self, images: Tensor) -> list[Tensor]:
        """Features of images `(N, C, H, W)`, C 1 or 3, normalised to length 1 over channels, for each layer.

        A grey image is read as three equal channels.

        Raises:
            ZooError: another number of channels, or images below 32 pixels.
        """
        channels, *size = images.shape[1:]
        if channels not in (1, 3) or min(size) < _SMALLEST:
            raise ZooError(
                f"frames of {channels} channels and {size[0]}×{size[1]} pixels do not suit LPIPS, which needs 1 or 3 "
                f"channels and at least {_SMALLEST} pixels; leave it out"
            )
        layers: Sequence[Tensor] = self._backbone(self._scaling(images.expand(-1, 3, -1, -1)))
        return [layer / (layer.square().sum(-3, keepdim=True).sqrt() + 1e-10) for layer in layers]

    def distance(self, predicted: Sequence[Tensor], true: Sequence[Tensor]) -> Tensor:
        """The distance `(…)` of features `(…, C, H, W)` of each layer, which broadcast against each other.

        It is the sum over layers of the weighted squared difference, averaged over the image.
        """
        layers = zip(predicted, true, self._heads, strict=True)
        return torch.stack([(a - b).square().mean((-2, -1)) @ head for a, b, head in layers]).double().sum(0)


def load_lpips(net: Net, root: Path | str | None = None, device: torch.device | str = "cpu") -> Perceptual:
    """The network of Zhang et al. (2018), version 0.1.

    Weights of the backbone come from `<data root>/lpips/<net>.backbone.pth`, else from the cache of `torch.hub`;
    nothing is downloaded. The linear heads ship with package `lpips`.

    Args:
        net: the backbone.
        root: data root; see `zoo.data.data_root`.
        device: where to put it.

    Raises:
        ZooError: no such backbone, no weights for it, or a file that does not hold them.
    """
    if net not in _WEIGHTS:
        raise ZooError(f"LPIPS has no net {net!r}; known: {', '.join(_WEIGHTS)}")
    path = _find_backbone(net, root)
    import lpips

    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):  # it draws weights, which are replaced below
        warnings.simplefilter("ignore")  # lpips uses names that torchvision has deprecated
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
    raise ZooError(f"weights of the {net} backbone are missing; save {url} as {cached}, or its features as {own}")


def _fill(backbone: nn.Module, path: Path) -> None:
    """Load torchvision's `features.<layer>.…`, or `<layer>.…`, into the slices `slice<n>.<layer>.…` of `lpips`."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        weights: dict[str, Tensor] = {name.removeprefix("features."): value for name, value in state.items()}
        backbone.load_state_dict({name: weights[name.partition(".")[2]] for name in backbone.state_dict()})
    except Exception as error:  # torch.load fails in many ways
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ZooError(f"{path} does not hold the weights of an LPIPS backbone ({reason}); fetch it again") from None
