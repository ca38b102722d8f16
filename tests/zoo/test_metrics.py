"""Each measure against an oracle: NumPy, scikit-image, package lpips, and the published values."""

import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage.metrics import structural_similarity

from zoo.errors import ZooError
from zoo.evaluation.conventions import CONVENTIONS, Convention, find_convention
from zoo.evaluation.metrics import Lpips, Mae, Mse, Psnr, Ssim
from zoo.evaluation.perceptual import load_lpips

SEED = st.integers(0, 2**31)


def frames(seed, *shape, low=-0.2, high=1.2, dtype=torch.float32):
    """Predictions, which may leave [0, 1], and a truth that does not."""
    generator = torch.Generator().manual_seed(seed)
    predicted = torch.rand(shape, generator=generator, dtype=dtype) * (high - low) + low
    return predicted, torch.rand(shape, generator=generator, dtype=dtype)


def per_frame(function, predicted, true):
    """Apply a function of two (C, H, W) arrays to every frame."""
    predicted, true = predicted.double().numpy(), true.double().numpy()
    return np.array([[function(a, b) for a, b in zip(x, y, strict=True)] for x, y in zip(predicted, true, strict=True)])


def clamp(x):
    return np.clip(x, 0, 1)


def to_uint8(x):
    return np.uint8(np.clip(np.float32(x), 0, 1) * np.float32(255))


def skimage_ssim(a, b, **options):
    return np.mean([structural_similarity(x, y, **options) for x, y in zip(a, b, strict=True)])


GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
ORACLES = {
    "standard": {
        "mse": lambda a, b: np.mean((clamp(a) - b) ** 2),
        "mae": lambda a, b: np.mean(np.abs(clamp(a) - b)),
        "psnr": lambda a, b: 10 * np.log10(1 / np.mean((clamp(a) - b) ** 2)),
        "ssim": lambda a, b: skimage_ssim(clamp(a), b, **GAUSSIAN),
    },
    "conv-tt-lstm": {
        "mse": lambda a, b: np.mean((clamp(a) - b) ** 2),
        "psnr": lambda a, b: 10 * np.log10(1 / np.mean((clamp(a) - b) ** 2)),
        "ssim": lambda a, b: skimage_ssim(clamp(a), b, data_range=2.0),
    },
    "predrnn-pp": {
        "mse": lambda a, b: np.sum((clamp(a) - b) ** 2),
        "mae": lambda a, b: np.sum(np.abs(a - b)),
        "psnr": lambda a, b: 20 * np.log10(255) - 10 * np.log10(np.mean((to_uint8(a) - 1.0 * to_uint8(b)) ** 2)),
        "ssim": lambda a, b: skimage_ssim(to_uint8(a), to_uint8(b)),
    },
    "openstl": {
        "mse": lambda a, b: np.sum((a - b) ** 2),
        "mae": lambda a, b: np.sum(np.abs(a - b)),
        "psnr": lambda a, b: 20 * np.log10(1 / np.sqrt(np.mean((clamp(a) - b) ** 2))),
        "ssim": lambda a, b: skimage_ssim(clamp(a), b, data_range=2.0),
    },
}


@pytest.mark.parametrize("name", CONVENTIONS)
@pytest.mark.parametrize("shape", [(2, 3, 1, 24, 17), (1, 2, 3, 12, 31)])
def test_every_convention_measures_what_its_source_does(name, shape):
    predicted, true = frames(0, *shape)
    for key, oracle in ORACLES[name].items():
        values = find_convention(name)[key].between(predicted, true)
        assert values.shape == shape[:2]
        assert values.dtype == torch.float64
        np.testing.assert_allclose(values, per_frame(oracle, predicted, true), rtol=1e-9, atol=1e-9)
    assert {m.key for m in find_convention(name).measures} - {"lpips"} == ORACLES[name].keys()


@given(SEED, st.sampled_from(["smooth", "flat", "binary"]), st.integers(11, 40), st.integers(11, 40))
def test_ssim_matches_scikit_image_on_frames_that_cancel(seed, kind, height, width):
    predicted, true = frames(seed, 1, 1, 1, height, width, low=0, high=1)
    if kind == "smooth":  # variances near zero, in which float32 would lose 1e-4
        predicted, true = 0.9 + predicted / 1e3, 0.9 + true / 1e3
    if kind == "flat":
        predicted, true = torch.full_like(predicted, 0.7), torch.full_like(true, 0.3)
    if kind == "binary":
        predicted, true = predicted.round(), true.round()
    values = Ssim().between(predicted, true)
    np.testing.assert_allclose(
        values, per_frame(lambda a, b: skimage_ssim(a, b, **GAUSSIAN), predicted, true), atol=1e-9
    )


def test_a_perfect_frame_has_no_error():
    _, true = frames(0, 1, 2, 1, 16, 16)
    for measure, best in ((Mse(), 0), (Mae(), 0), (Psnr(), 100), (Psnr(pixels="uint8"), 100), (Ssim(), 1)):
        np.testing.assert_allclose(measure.between(true, true), best, atol=1e-12)


def test_psnr_is_finite_for_any_error_and_averages_frames():
    true = torch.zeros(1, 2, 1, 8, 8)
    predicted = torch.stack([true[0, 0] + 1e-8, true[0, 0] + 0.1])[None]
    np.testing.assert_allclose(Psnr().between(predicted, true), [[100, 20]], rtol=1e-6)


def test_uint8_truncates_and_keeps_whole_numbers():
    levels = torch.arange(256).view(1, 1, 1, 16, 16) / 255  # float32, as rendered frames are
    assert torch.equal(Mse(pixels="uint8").prepare(levels), torch.arange(256.0).double().view(1, 1, 1, 16, 16))
    assert Mse(pixels="uint8").prepare(torch.tensor(0.999)) == 254


def test_one_frame_may_stand_for_all():
    predicted, true = frames(1, 2, 3, 1, 32, 32)
    for measure in (Mse(), Mae(pixels="raw", per="frame"), Psnr(), Ssim(), Ssim(window="uniform-7")):
        features, value = measure.comparison(None, torch.device("cpu"))
        still = predicted[:, :1]
        expected = measure.between(still.expand_as(true), true)
        torch.testing.assert_close(value(features(still), features(true)), expected, rtol=0, atol=1e-12)


def test_frames_smaller_than_the_window_are_refused():
    with pytest.raises(ZooError, match="frames of 10 pixels are smaller than SSIM's window of 11"):
        Ssim().between(*frames(0, 1, 1, 1, 20, 10))


def test_tables_have_the_usual_units():
    assert Mse().shown(0.01135) == "11.35"
    assert Mse().heading == "MSE ↓\n×10⁻³"
    assert Mse(per="frame").shown(46.5) == "46.50"
    assert Mse(per="frame").heading == "MSE ↓\nper frame"
    assert Lpips().shown(0.0405) == "40.5"
    assert Ssim().heading == "SSIM ↑"


TEXTS = {
    "standard": "Convention standard (every metric as its own paper defines it), predictions clamped to [0, 1]: "
    "MSE mean per pixel; MAE mean per pixel; PSNR of each frame, averaged, range 1, at most 100 dB; SSIM 11-pixel "
    "Gaussian window σ 1.5 inside the frame, range 1; LPIPS squeeze v0.1, input in [-1, 1].",
    "conv-tt-lstm": "Convention conv-tt-lstm (evaluation code of the Conv-TT-LSTM paper), predictions clamped to "
    "[0, 1]: MSE mean per pixel; PSNR of each frame, averaged, range 1, at most 100 dB; SSIM 7-pixel uniform window "
    "inside the frame, range 2; LPIPS alex v0.1, input in [0, 1].",
    "predrnn-pp": "Convention predrnn-pp (evaluation code of the PredRNN++ paper): MSE sum over the pixels of a frame, "
    "predictions clamped to [0, 1]; MAE sum over the pixels of a frame, predictions as they are; PSNR of each frame, "
    "averaged, range 255, at most 100 dB, frames clamped to [0, 1] and truncated to 0…255; SSIM 7-pixel uniform window "
    "inside the frame, range 255, frames clamped to [0, 1] and truncated to 0…255.",
    "openstl": "Convention openstl (OpenSTL benchmark): MSE sum over the pixels of a frame, predictions as they are; "
    "MAE sum over the pixels of a frame, predictions as they are; PSNR of each frame, averaged, range 1, at most "
    "100 dB, predictions clamped to [0, 1]; SSIM 7-pixel uniform window inside the frame, range 2, predictions clamped "
    "to [0, 1]; LPIPS alex v0.1, input in [-1, 1], predictions clamped to [0, 1].",
}


def test_conventions_say_how_they_measure():
    """LPIPS too, whose values no test compares where its weights are missing."""
    assert {name: convention.text() for name, convention in CONVENTIONS.items()} == TEXTS


@pytest.mark.parametrize("name", CONVENTIONS)
def test_conventions_survive_plain_data(name):
    convention = find_convention(name)
    assert Convention.from_dict(convention.to_dict()) == convention
    assert find_convention(convention) is convention


def test_unknown_names_are_refused():
    with pytest.raises(ZooError, match="no convention 'standrad'; did you mean 'standard'"):
        find_convention("standrad")
    with pytest.raises(ZooError, match="'predrnn-pp' has no metric 'lpips'; known: mae, mse, psnr, ssim"):
        find_convention("predrnn-pp")["lpips"]
    with pytest.raises(ZooError, match="no net 'resnet'; known: squeeze, alex, vgg"):
        load_lpips("resnet")


# LPIPS


@pytest.fixture(scope="module")
def random_backbone():
    """The features of a SqueezeNet that was never trained: weights enough for all but the published values."""
    from torchvision.models import squeezenet1_1

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return squeezenet1_1().features.state_dict()


@pytest.fixture
def no_cache(tmp_path, monkeypatch):
    """An empty cache of torch.hub and an empty data root."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    (tmp_path / "torch" / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "root" / "lpips").mkdir(parents=True)
    return tmp_path


def test_lpips_finds_the_published_values(data_root):
    network = load_lpips("squeeze", data_root)
    generator = torch.Generator().manual_seed(42)
    one, two = (torch.rand(2, 3, 100, 100, generator=generator) * 2 - 1 for _ in range(2))
    distances = network.distance(network.features(one), network.features(two))
    np.testing.assert_allclose(distances, [0.1024, 0.0938], atol=5e-5)

    reference, *others = (
        torch.from_numpy(np.array(Image.open(data_root / "lpips" / f"ex_{name}.png"))).permute(2, 0, 1)[None, None]
        / 255
        for name in ("ref", "p0", "p1")
    )
    for image, published in zip(others, (0.71105, 0.14790), strict=True):
        distance = Lpips(net="squeeze").between(image, reference, data_root)
        assert distance.shape == (1, 1)
        assert distance.item() == pytest.approx(published, abs=1e-5)


@pytest.mark.parametrize("signed", [True, False])
def test_lpips_is_that_of_the_package(signed, random_backbone, no_cache):
    import lpips

    torch.save(random_backbone, no_cache / "root" / "lpips" / "squeeze.backbone.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = lpips.LPIPS(net="squeeze", pnet_rand=True, verbose=False)
    package.net.load_state_dict({n: random_backbone[n.partition(".")[2]] for n in package.net.state_dict()})
    predicted, true = frames(0, 2, 2, 1, 40, 48)
    distances = Lpips(signed=signed).between(predicted, true, no_cache / "root")
    with torch.no_grad():
        x, y = (t.clamp(0, 1).flatten(0, 1).repeat(1, 3, 1, 1) for t in (predicted, true))
        expected = package(x, y, normalize=signed).view(2, 2)
    torch.testing.assert_close(distances.float(), expected, rtol=1e-5, atol=1e-7)

    features, value = Lpips(signed=signed).comparison(no_cache / "root", torch.device("cpu"))
    still = value(features(predicted[:, :1]), features(true))  # one frame stands for all
    torch.testing.assert_close(still[:, 0], distances[:, 0], rtol=1e-5, atol=1e-7)


def test_lpips_reads_the_torch_cache_silently_and_draws_nothing(random_backbone, no_cache, capfd, recwarn):
    whole = {f"features.{name}": value for name, value in random_backbone.items()}
    torch.save(
        whole | {"classifier.1.bias": torch.zeros(3)},
        no_cache / "torch" / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth",
    )
    before = torch.random.get_rng_state()
    network = load_lpips("squeeze", no_cache / "root")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert capfd.readouterr() == ("", "")
    assert not [w for w in recwarn if "torchvision" in str(w.message) or "pretrained" in str(w.message)]
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_lpips_without_weights_says_where_to_get_them(no_cache):
    with pytest.raises(
        ZooError, match=r"weights of the alex backbone are missing; save https://\S+alexnet\S+ as .*torch"
    ):
        load_lpips("alex", no_cache / "root")


class Code:
    """Unpickled, it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("content", ["nothing", "text", "another network", "code"])
def test_lpips_refuses_files_without_weights(content, no_cache):
    path = no_cache / "root" / "lpips" / "squeeze.backbone.pth"
    if content == "another network":
        torch.save({"0.weight": torch.zeros(1)}, path)
    else:
        code = pickle.dumps(Code(no_cache / "ran"), protocol=2)
        path.write_bytes({"nothing": b"", "text": b"hello", "code": code}[content])
    with pytest.raises(ZooError, match="does not hold the weights of an LPIPS backbone") as caught:
        load_lpips("squeeze", no_cache / "root")
    assert "\n" not in str(caught.value)
    assert not (no_cache / "ran").exists()


@pytest.mark.parametrize("shape", [(1, 1, 2, 64, 64), (1, 1, 1, 64, 31)])
def test_lpips_refuses_frames_that_do_not_suit(shape, random_backbone, no_cache):
    torch.save(random_backbone, no_cache / "root" / "lpips" / "squeeze.backbone.pth")
    with pytest.raises(ZooError, match="cannot be measured by LPIPS"):
        Lpips().between(*frames(0, *shape), no_cache / "root")


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, zoo.evaluation; print({'lpips', 'matplotlib', 'av', 'skimage', 'PIL'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
