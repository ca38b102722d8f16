"""The probe for direct summation: what it lets pass, and that it notices Winograd, Fourier and short formats."""

import pytest
import torch
import torch.nn.functional as F

from tensortrain import ConvTensorTrain
from tensortrain.conv.certify.probe import Call, convolutions, machine, sums_directly
from tests.support import oracles


def call(function=F.conv2d, x=(2, 8, 10, 10), weight=(8, 8, 3, 3), **options):
    return Call(function, (x, weight), tuple(options.items()))


def winograd(tile, points):
    """F(tile, 3) on both axes, with transforms that interpolate at 0, ∞ and the points, all in the input's dtype."""
    # Toom-Cook: evaluate polynomials at the points and interpolate; transposed it is a correlation
    count = tile + 2
    values = [0.0, *points]
    evaluate = lambda n: torch.tensor(  # noqa: E731
        [[v**i for i in range(n)] for v in values] + [[0.0] * (n - 1) + [1.0]], dtype=torch.float64
    )
    interpolate = torch.linalg.inv(evaluate(count))

    def convolve(x, weight):
        a, g, b = (m.to(x.dtype) for m in (evaluate(tile).T, evaluate(3), interpolate.T))
        u = g @ weight @ g.T
        rows = x.unfold(2, count, tile).unfold(3, count, tile)
        v = b @ rows @ b.T
        products = torch.einsum("ocst,bcxyst->boxyst", u, v)
        tiles = a @ products @ a.T
        return tiles.permute(0, 1, 2, 4, 3, 5).reshape(x.shape[0], weight.shape[0], x.shape[2] - 2, x.shape[3] - 2)

    return convolve


def fourier(x, weight):
    size = x.shape[2:]
    product = torch.einsum("ocst,bcst->bost", torch.fft.rfft2(weight, s=size).conj(), torch.fft.rfft2(x))
    return torch.fft.irfft2(product, s=size)[..., : size[0] - 2, : size[1] - 2]


def short(dtype):
    """Products of inputs that are rounded to a shorter format."""
    return lambda x, weight: F.conv2d(x.to(dtype).to(x.dtype), weight.to(dtype).to(x.dtype))


TRANSFORMS = {
    "F(2, 3)": winograd(2, (1.0, -1.0)),
    "F(4, 3)": winograd(4, (1.0, -1.0, 2.0, -2.0)),
    "Fourier": fourier,
    "bfloat16": short(torch.bfloat16),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_what_does_not_sum_plain_products_is_noticed(name):
    function = TRANSFORMS[name]
    x, weight = oracles.floats(0, 2, 8, 10, 10), oracles.floats(1, 8, 8, 3, 3)
    close = 0.2 if name == "bfloat16" else 1e-12
    torch.testing.assert_close(function(x, weight), F.conv2d(x, weight), rtol=0, atol=close)
    for dtype in (torch.float32, torch.float64):
        assert not sums_directly(call(function), torch.zeros(1, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "case",
    [
        call(stride=(1, 1), dilation=(1, 1), groups=1),
        call(stride=(2, 1), dilation=(1, 2), groups=2, weight=(6, 4, 3, 3)),
        call(F.conv1d, (1, 4, 9), (3, 4, 5)),
        call(F.conv3d, (1, 2, 4, 5, 6), (3, 2, 2, 3, 1)),
    ],
)
def test_direct_sums_pass(case, dtype):
    assert sums_directly(case, torch.zeros(1, dtype=dtype))


def test_any_order_of_summation_passes():
    """Channels in reverse, taps in blocks."""

    def reordered(x, weight):
        return sum(F.conv2d(x[:, c : c + 1], weight[:, c : c + 1]) for c in reversed(range(weight.shape[1])))

    assert sums_directly(call(reordered), torch.zeros(1))


def test_the_convolutions_of_an_evaluation_are_noted():
    chain = ConvTensorTrain([oracles.floats(0, 3, 2, 3, 1), oracles.floats(1, 2, 4, 1, 3)])
    calls = convolutions(lambda: chain.evaluate([None, oracles.floats(2, 1, 4, 5, 5)]))
    assert [one.shapes[1] for one in calls] == [(2, 4, 1, 3), (3, 2, 3, 1)]
    assert convolutions(lambda: None) == []
    assert "cpu" in machine(torch.device("cpu"))
