"""Figures of chains and trains show their numbers."""

import matplotlib
import pytest
import torch
from matplotlib.axes import Axes

import tensortrain as tt
from tests.support.pictures import looks_the_same_in_the_style


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_a_chain_is_drawn_from_input_to_output() -> None:
    chain = tt.ConvTensorTrain([torch.ones(8, 4, 3, 3), torch.ones(4, 2, 1, 5)], groups=[1, 1])
    (axes,) = chain.plot().axes
    assert texts(axes) == ["2", "4", "8", "1×5\n40", "3×3\n288"]


@pytest.mark.parametrize("transposed", [False, True])
def test_the_error_is_split_over_taps_and_channels(transposed: bool) -> None:
    torch.manual_seed(0)
    weight = torch.randn(3, 4, 5, 5)
    chain = tt.ConvTensorTrain.decompose(weight, (3, 3), ranks=2, transposed=transposed)
    _, taps, channels, *_ = chain.plot(weight).axes
    shown = torch.as_tensor(taps.images[0].get_array().data)
    assert float(shown.norm()) == pytest.approx(chain.error, rel=1e-4)
    heights = torch.tensor([bar.get_height() for bar in channels.patches])
    assert len(heights) == chain.out_channels
    assert float(heights.norm()) == pytest.approx(chain.error, rel=1e-4)
    assert (heights.diff() <= 0).all()


@pytest.mark.parametrize("size", [(9,), (3, 3, 3)])
def test_kernels_of_one_and_three_axes(size: tuple[int, ...]) -> None:
    weight = torch.randn(3, 2, *size)
    chain = tt.ConvTensorTrain.decompose(weight, "tucker2", ranks=1)
    assert len(chain.plot(weight).axes) >= 3


def test_another_weight_is_refused() -> None:
    chain = tt.ConvTensorTrain([torch.ones(4, 2, 3, 3)])
    with pytest.raises(
        tt.TensorTrainError, match=r"weight has shape \(4, 2, 5, 5\); the kernel of this chain has \(4, 2, 3, 3\)"
    ):
        chain.plot(torch.ones(4, 2, 5, 5))


def test_a_train_is_drawn_with_its_singular_values() -> None:
    torch.manual_seed(0)
    tensor = torch.randn(4, 5, 6, dtype=torch.float64)
    cores, values = tt.TensorTrain.decompose(tensor, rtol=1e-12).plot().axes
    assert texts(cores) == ["1", "4", "6", "1", "4", "5", "6"]
    expected = torch.linalg.svdvals(tensor.reshape(4, 30))
    torch.testing.assert_close(torch.as_tensor(values.lines[0].get_ydata()), expected / expected[0])


def test_a_long_train_is_drawn_as_the_curve_of_its_ranks() -> None:
    train = tt.TensorTrain([torch.ones(1, 2, 1)] * 40)
    cores, _ = train.plot().axes
    assert list(cores.lines[0].get_ydata()) == list(train.ranks)


def test_a_train_in_half_precision_is_refused() -> None:
    with pytest.raises(tt.TensorTrainError, match="float16; single or double precision"):
        tt.TensorTrain.ones((2, 3), torch.float16).plot()


def test_the_style_of_the_callers_figures_stays() -> None:
    before = dict(matplotlib.rcParams)
    tt.TensorTrain([torch.ones(1, 2, 1)] * 2).plot()
    assert dict(matplotlib.rcParams) == before


def test_saved_figures_have_the_colours_of_the_style() -> None:
    torch.manual_seed(0)
    chain = tt.ConvTensorTrain.decompose(weight := torch.randn(3, 4, 3, 3), (3, 1), ranks=2)
    network = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 8)).eval()
    curve = tt.compression_curve(network, torch.randn(64, 16), [0.8, 0.5], progress=False)
    result = tt.compress(network, torch.randn(64, 16), parameters=0.6, progress=False)
    figures = [chain.plot(weight), tt.TensorTrain.ones((2, 3, 4)).plot(), curve.plot(), result.plot()]
    assert all(map(looks_the_same_in_the_style, figures))


def test_a_compression_is_drawn_layer_by_layer() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 8)).eval()
    result = tt.compress(network, torch.randn(64, 16), parameters=0.6, progress=False)
    parameters, errors = result.plot().axes
    assert [text.get_text() for text in parameters.get_yticklabels()] == ["0", "2"]
    assert [bar.get_width() for bar in parameters.patches[:2]] == [16 * 32, 32 * 8]  # weights
    assert errors.lines
    curve = tt.compression_curve(network, torch.randn(64, 16), [0.8, 0.5], progress=False)
    (axes,) = curve.plot().axes
    assert len(axes.lines[0].get_xdata()) == 2
