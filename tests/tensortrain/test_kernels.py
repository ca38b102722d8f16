"""Which tensors are conv kernels, which may be something else, and which of them patterns select."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tensortrain import TensorTrainError
from tensortrain.compression.state_dicts.kernels import ConvKernel, find_kernels, possible_groups, select, unsaid
from tests.support.command import normal, run


def test_what_counts_as_a_conv_kernel():
    tensors = {
        "conv.weight": normal(0, 2, 2, 3), "conv.bias": normal(1, 2), "linear.weight": normal(2, 4, 4),
        "norm.weight": normal(3, 2, 4, 4), "norm.bias": normal(4, 2, 4, 4), "position": normal(5, 1, 9, 4),
        "counts.weight": torch.ones(2, 2, 3, dtype=torch.int64), "deep.weight": normal(6, 2, 2, 1, 1, 1, 1),
    }  # fmt: skip
    assert [kernel.name for kernel in find_kernels(tensors)] == ["conv.weight"]
    del tensors["conv.weight"]
    assert [kernel.name for kernel in find_kernels({"position": tensors["position"]})] == ["position"]
    with pytest.raises(TensorTrainError, match="no conv kernel"):
        find_kernels({"linear.weight": tensors["linear.weight"]})


def test_patterns_select_layers():
    kernels = find_kernels({f"layer{i}.conv.weight": normal(i, 2, 2, 3) for i in range(3)})
    for include, exclude, expected in [
        (["layer1*"], [], ["layer1.conv"]),
        ([], ["layer1.conv.weight"], ["layer0.conv", "layer2.conv"]),
        (["*"], ["layer[12]*"], ["layer0.conv"]),
    ]:
        assert [kernel.layer for kernel in select(kernels, include, exclude)] == expected


NO_KERNELS = {
    "bilinear.weight": (4, 8, 8), "head.bilinear.weight": (3, 5, 5), "similarity.weight": (16, 64, 64),
    "pos_embed.weight": (1, 65, 64), "position_embeddings.weight": (1, 4, 3), "tokens.weight": (1, 1, 768),
    "experts.weight": (4, 32, 16), "moe.w1.weight": (8, 128, 64), "mlp.experts.weight": (2, 3, 5),
    "norm.weight": (8, 16, 16), "layer_norm.weight": (2, 3, 3), "table.weight": (1, 12, 49, 49),
    "heads.weight": (3, 12, 64, 768), "stacked.weight": (4, 8, 32, 16),
}  # fmt: skip
KERNELS = {
    "conv.weight": (8, 8, 3, 3), "features.0.weight": (64, 3, 11, 11), "patch_embed.proj.weight": (64, 3, 16, 16),
    "patch_embed.weight": (64, 3, 16, 16), "wave.0.weight": (32, 1, 80), "wave.1.weight": (64, 32, 8),
    "large.weight": (16, 1, 31, 31), "up.weight": (512, 256, 16), "experts.0.conv.weight": (8, 8, 3),
    "video.weight": (8, 3, 3, 7, 7), "head.weight": (1, 64, 7, 7), "patchify.weight": (96, 4, 4, 4),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_KERNELS)
def test_what_looks_like_something_else_is_in_doubt(name):
    tensors = {name: torch.ones(NO_KERNELS[name]), "conv.weight": normal(0, 8, 8, 3, 3)}
    kernels = {kernel.name: kernel for kernel in find_kernels(tensors)}
    assert kernels[name].doubt
    assert [kernel.name for kernel in select(list(kernels.values()))] == ["conv.weight"]
    assert [kernel.name for kernel in select(list(kernels.values()), include=[name])] == [name]
    assert find_kernels(tensors, groups={name: 1})[0].doubt is None
    with pytest.raises(
        TensorTrainError, match=r"no tensor is certain to be a conv kernel; .* Name the conv kernels in include"
    ):
        select(find_kernels({name: tensors[name]}))


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_of_usual_networks_are_in_no_doubt(name):
    (kernel,) = find_kernels({name: torch.ones(KERNELS[name])})
    assert kernel.doubt is None


def test_a_bias_that_fits_no_conv_casts_doubt():
    for entries, doubted in [(6, False), (4, False), (8, False), (5, True)]:
        (kernel,) = find_kernels({"a.weight": torch.ones(6, 4, 3), "a.bias": torch.ones(entries)})
        assert bool(kernel.doubt) == doubted, entries


def test_the_command_copies_what_is_in_doubt_and_names_it(tmp_path, capsys):
    torch.manual_seed(0)
    net = nn.ModuleDict({"conv": nn.Conv2d(8, 8, 3), "bil": nn.Bilinear(8, 16, 12), "pos_embed": nn.Identity()})
    state = {**net.state_dict(), "pos_embed.weight": normal(0, 1, 65, 64), "experts.weight": normal(1, 4, 32, 16)}
    torch.save(state, tmp_path / "net.pt")
    small = tmp_path / "small.st"
    options = ("--kernel-sizes", "tucker2", "--ranks", "3", "-o", small)
    assert run("decompose", tmp_path / "net.pt", *options) == 0
    output = capsys.readouterr().out
    for name in ("bil.weight", "pos_embed.weight", "experts.weight"):
        assert f"{name} may not be a convolution kernel" in output
        assert torch.equal(load_file(small)[name], state[name])
    assert "conv.weight may" not in output
    assert run("info", tmp_path / "net.pt") == 0
    assert "bil.weight may not be a convolution kernel" in capsys.readouterr().out


# ---- what a checkpoint does not say --------------------------------------------------------------------------


def sequence(*shapes):
    return [ConvKernel(f"{i}.weight", torch.ones(shape)) for i, shape in enumerate(shapes)]


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([(8, 3, 3, 3), (8, 4, 3, 3)], {1: 2}),
        ([(32, 3, 3, 3), (32, 1, 3, 3), (16, 32, 1, 1)], {1: 32}),
        ([(256, 64, 1, 1), (128, 256, 1, 1), (128, 4, 3, 3)], {2: 32}),
        ([(6, 1, 5, 5), (16, 6, 5, 5)], {}),
        ([(10, 1, 5, 5), (20, 10, 5, 5)], {}),
        ([(16, 3, 3, 3), (16, 16, 3, 3), (32, 16, 3, 3), (32, 32, 3, 3)], {}),
        ([(8, 3, 3, 3), (16, 8, 3, 3), (16, 8, 3, 3), (16, 4, 3, 3)], {3: 2, 2: 2}),
    ],
)
def test_kernels_that_may_be_grouped(shapes, expected):
    """Those that can hardly be anything else come first; first layers and doubled channels are left out."""
    groups = possible_groups(sequence(*shapes))
    assert list(groups.items()) == [(f"{i}.weight", count) for i, count in expected.items()]


def test_known_groups_and_transposed_kernels_are_no_question():
    kernels = sequence((8, 3, 3), (8, 4, 3))
    assert possible_groups([kernels[0], ConvKernel("g", torch.ones(8, 4, 3), groups=2)]) == {}
    assert possible_groups([kernels[0], ConvKernel("t", torch.ones(8, 4, 3), transposed=True)]) == {}


def test_at_most_eight_are_listed():
    (groups,) = unsaid(sequence((8, 3, 3, 3), *[(8, 4, 3, 3)] * 11))
    assert groups.endswith("for example: 1=2, 2=2, 3=2, 4=2, 5=2, 6=2, 7=2, 8=2 and 3 more")


def test_the_command_asks_for_groups_before_it_begins(tmp_path, capsys):
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=2))
    torch.save(net.state_dict(), tmp_path / "net.pt")
    options = (tmp_path / "net.pt", "--kernel-sizes", "tucker2", "-o", tmp_path / "small.st")
    assert run("decompose", *options, "--budget", "0.0001") == 2  # nothing is decomposed, and the warning is there
    assert "A checkpoint does not say which convs are grouped" in (err := capsys.readouterr().err)
    assert "for example: 1=2\n" in err
    assert run("decompose", *options, "--ranks", "2", "--groups", "1=2") == 0
    assert "does not say" not in capsys.readouterr().err
    assert run("decompose", *options, "--ranks", "2", "--include", "0") == 0
    assert "does not say" not in capsys.readouterr().err


def test_the_command_says_what_it_takes_for_conv1d(tmp_path, capsys):
    torch.save({"0.weight": normal(0, 8, 6, 5), "1.conv.weight": normal(1, 8, 8, 5)}, tmp_path / "net.pt")
    options = (tmp_path / "net.pt", "--kernel-sizes", "3,3", "--ranks", "2", "-o", tmp_path / "small.st")
    assert run("decompose", *options) == 0
    assert "nn.Conv1d or to nn.Bilinear. Treated as convs: 0\n" in capsys.readouterr().err
