"""A checkpoint in which a tensor has the name that a core or a moved bias would get: none of both may be lost."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from tensortrain import ConvTensorTrain, TensorTrainError
from tensortrain.compression.state_dicts.decomposition import Outcome, check_names, replace_kernels
from tensortrain.compression.state_dicts.kernels import ConvKernel
from tensortrain.compression.state_dicts.records import LayerRecord, copied_tensors
from tests.support.command import normal, run

KERNEL = normal(0, 8, 4, 3, 3)


@pytest.mark.parametrize(
    ("tensors", "other"),
    [
        ({"c.weight": KERNEL, "c.bias": normal(1, 8), "c.cores.0.bias": normal(2, 3)}, "c.cores.0.bias"),
        ({"c.weight": KERNEL, "c.cores.0.weight": normal(2, 3)}, "c.cores.0.weight"),
        ({"c.weight": KERNEL, "c.cores.1.weight": normal(2, 3)}, "c.cores.1.weight"),
        ({"weight": KERNEL, "bias": normal(1, 8), "cores.0.bias": normal(2, 3)}, "cores.0.bias"),
        ({"c": KERNEL, "c.cores.0.weights": normal(1, 8), "c.cores.1.weight": normal(2, 3)}, "c.cores.1.weight"),
    ],
)
def test_a_clash_is_refused_before_the_work(tmp_path, capsys, monkeypatch, tensors, other):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tensortrain.cli.decompose_kernels", None)
    save_file(tensors, "net.safetensors")
    include = ["--include", next(iter(tensors))]
    assert run("decompose", "net.safetensors", "--ranks", "2", *include, "-o", "small.safetensors") == 2
    message = capsys.readouterr().err
    assert f"{next(iter(tensors))!r} cannot be decomposed" in message
    assert f"the name of {other!r}; exclude this layer, or rename the tensor" in message
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]


def test_names_that_only_look_alike_are_kept_and_a_layer_can_be_excluded(tmp_path):
    alike = {"c.cores.0.bias": normal(2, 3), "c.cores.0.scale": normal(3, 3), "d.cores.0.weight": normal(4, 3)}
    save_file(
        {"c.weight": KERNEL, "d.weight": KERNEL.clone(), "d.bias": normal(1, 8), **alike}, tmp_path / "net.safetensors"
    )
    options = ("--ranks", "2", "--kernel-sizes", "separable", "--effort", "0.1", "--exclude", "d")
    assert run("decompose", tmp_path / "net.safetensors", *options, "-o", tmp_path / "s.safetensors") == 0
    written = load_file(tmp_path / "s.safetensors")
    assert written.keys() == {"c.cores.0.weight", "c.cores.1.weight", "d.weight", "d.bias", *alike}
    assert all(torch.equal(written[name], tensor) for name, tensor in alike.items())
    assert run("verify", tmp_path / "s.safetensors", "--against", tmp_path / "net.safetensors") == 0


def test_a_layer_without_a_limit_keeps_its_names(tmp_path):
    save_file(
        {"c.weight": KERNEL, "d.weight": KERNEL.clone(), "d.cores.0.weight": normal(1, 3)}, tmp_path / "net.safetensors"
    )
    options = ("--ranks", "c=2", "--kernel-sizes", "separable", "--effort", "0.1")
    assert run("decompose", tmp_path / "net.safetensors", *options, "-o", tmp_path / "s.safetensors") == 0


def test_renaming_and_replacing_lose_nothing():
    chain = ConvTensorTrain.decompose(KERNEL, "separable", ranks=2, effort=0.1)
    record = LayerRecord.of("c.weight", chain, (8, 4, 3, 3), 1)
    outcome = Outcome(ConvKernel("c.weight", KERNEL), chain, None, 0.0)
    bias = {"c.weight": KERNEL, "c.bias": normal(1, 8), "c.cores.0.bias": normal(2, 3)}
    core = {"c.weight": KERNEL, "c.cores.1.weight": normal(2, 3)}
    for tensors, name in ((bias, "c.cores.0.bias"), (core, "c.cores.1.weight")):
        for lose, argument in ((copied_tensors, record), (replace_kernels, outcome)):
            with pytest.raises(TensorTrainError, match=f"would both be named '{name}', and one of them would be lost"):
                lose(tensors, [argument])
    twins = [record, LayerRecord.of("c", chain, (8, 4, 3, 3), 1)]
    with pytest.raises(TensorTrainError, match=r"a core of 'c.weight' and a core of 'c' would both be named"):
        copied_tensors({"c.weight": KERNEL, "c": KERNEL}, twins)


def test_layers_that_were_chains_before_are_no_clash():
    """The tensors of a network that is compressed again hold cores, but no weight of the same layer."""
    chain = ConvTensorTrain.decompose(KERNEL, "separable", ranks=2, effort=0.1)
    tensors = {"c.cores.0.weight": 1, "c.cores.1.weight": 2, "c.cores.0.bias": 3}
    assert copied_tensors(tensors, [LayerRecord.of("c.weight", chain, (8, 4, 3, 3), 1)]) == tensors
    check_names(tensors, ["d.weight"])
