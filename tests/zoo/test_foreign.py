"""Checkpoints of other code bases: names and gate orders mapped, every tensor accounted for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import zoo
from tests.support.foreign import Weights, conv_tt_lstm_names, tensorflow_names
from tests.support.reference import read
from tests.support.runs import run_command
from zoo.errors import ZooError
from zoo.foreign.ledger import Foreign, Ledger
from zoo.foreign.tensorflow import read_arrays
from zoo.foreign.tensorflow import read_predrnn_pp as read_variables
from zoo.foreign.torch_stack import read_conv_lstm, read_conv_tt_lstm
from zoo.foreign.torch_zigzag import read_predrnn, read_predrnn_pp
from zoo.foreign.weights import import_weights
from zoo.model_files.pretrained import load_weights
from zoo.predictors.recurrent import RecurrentPredictor, unpatchify


def network(foreign: Foreign) -> RecurrentPredictor:
    """Ours, in the precision of the file."""
    model = zoo.create_model(foreign.model, **foreign.options).double()
    model.load_state_dict(foreign.weights)
    assert isinstance(model, RecurrentPredictor)
    return model.eval()


def ledger(weights: Weights) -> Ledger:
    return Ledger(weights, "x.pt", "network")


def close(value: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-10 * float(expected.abs().max()))


def npz(path: Path, weights: Weights) -> Path:
    np.savez(path, **{name: each.numpy() for name, each in weights.items()})
    return path


# ---- the reference outputs ----------------------------------------------------------------------------------------


def variables(weights: Weights, path: Path) -> Foreign:
    arrays, _ = read_arrays(npz(path / "x.npz", tensorflow_names(weights)))
    return read_variables(ledger(arrays), 1)


@pytest.mark.parametrize(
    ("reference", "translate"),
    [
        ("predrnn", lambda weights, path: read_predrnn(ledger(weights), 1)),
        ("predrnn_pp", lambda weights, path: read_predrnn_pp(ledger(weights), 1)),
        ("predrnn_pp", variables),
    ],
)
def test_published_outputs_of_the_zigzags(
    reference: str, translate: Callable[[Weights, Path], Foreign], tmp_path: Path
) -> None:
    meta, weights, data = read(reference)
    foreign = translate(weights, tmp_path)
    assert foreign.options["patch"] == meta["patch_size"]
    x, y = (unpatchify(data[name].permute(0, 1, 4, 2, 3), meta["patch_size"]) for name in "xy")
    predictions = network(foreign)(x[:, : meta["input_frames"]], meta["future_frames"])
    close(predictions.detach(), y)


def test_colours_are_folded_in_another_order_there() -> None:
    """The reference's four folded channels as two by two pixels of one colour, and as one pixel of four."""
    meta, weights, data = read("predrnn")
    frames = data["x"].permute(0, 1, 4, 2, 3)[:, : meta["input_frames"]]
    grey, coloured = (network(read_predrnn(ledger(weights), channels)) for channels in (1, 4))
    assert coloured.patch == 1
    close(unpatchify(coloured(frames, 2), 2).detach(), grey(unpatchify(frames, 2), 2).detach())
    eight = weights | {
        "cell_list.0.conv_x.0.weight": weights["cell_list.0.conv_x.0.weight"].repeat_interleave(2, 1) / 2,
        "conv_last.weight": weights["conv_last.weight"].repeat_interleave(2, 0),
    }  # each of four pixels twice, as two equal colours, which come last there
    both = network(read_predrnn(ledger(eight), 2))
    y = both(unpatchify(frames, 2).repeat_interleave(2, 2), 2).detach()
    close(y, grey(unpatchify(frames, 2), 2).detach().repeat_interleave(2, 2))


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("reference", ["net_conv_lstm", "net_conv_tt_lstm_sw"])
def test_published_outputs_of_the_stacks(reference: str, flat: bool) -> None:
    meta, weights, data = read(reference)
    foreign = read_conv_tt_lstm(ledger(conv_tt_lstm_names(weights, meta, flat)), meta["output_sigmoid"])
    y = network(foreign)(data["x"], meta["future_frames"])[:, -meta["future_frames"] :]
    close(y.detach(), data["y"])


@pytest.mark.parametrize("flat", [False, True])
def test_windows_of_several_states(flat: bool) -> None:
    _, weights, data = read("conv_tt_lstm_cell_sw_order2_steps4")
    named = conv_tt_lstm_names({f"layer.0.{name}": w for name, w in weights.items()}, {"layers_per_block": [1]}, flat)
    output = {"layers.output.weight": torch.ones(2, 4, 1, 1).double(), "layers.output.bias": torch.zeros(2).double()}
    foreign = read_conv_tt_lstm(ledger(named | output), False)
    assert (foreign.options["order"], foreign.options["steps"]) == (2, 4)
    model = network(foreign)
    read_all, _ = model.read(data["x"], model.initial_state(2, (7, 9), torch.device("cpu"), torch.float64))
    close(read_all.detach()[:, :, 0], data["h"].sum(2))


def openstl_conv_lstm(meta: dict[str, Any], weights: Weights) -> Weights:
    """The reference cell in OpenSTL's ConvLSTM, which has no biases: they are what a further channel of ones adds."""
    i, f, o, g = weights["conv.weight"].chunk(4)
    joint, count = torch.cat([i, f, g, o]), meta["hidden_channels"]
    i, f, o, g = weights["conv.bias"].chunk(4)
    ones = torch.zeros(4 * count, 1, 3, 3).double()
    ones[:, 0, 1, 1] = torch.cat([i, f, g, o])
    return {
        "cell_list.0.conv_x.0.weight": torch.cat([joint[:, :2], ones], 1),
        "cell_list.0.conv_h.0.weight": joint[:, 2:].contiguous(),
        "cell_list.0.conv_o.0.weight": torch.ones(count, 2 * count, 3, 3).double(),
        "cell_list.0.conv_last.weight": torch.ones(count, 2 * count, 1, 1).double(),
        "conv_last.weight": torch.arange(1.0, 1 + 3 * count).double().reshape(3, count, 1, 1),
    }


def test_published_outputs_of_a_conv_lstm_of_openstl() -> None:
    meta, weights, data = read("conv_lstm_cell")
    theirs = openstl_conv_lstm(meta, weights)
    foreign = read_conv_lstm(ledger(theirs), 3)
    assert foreign.remarks == [
        "ignored: cell_list.0.conv_o.0.weight, cell_list.0.conv_last.weight: its own code never reads it"
    ]
    model = network(foreign)
    x = torch.cat([data["x"], torch.ones_like(data["x"][:, :, :1])], 2)
    y, _ = model.read(x, model.initial_state(2, (7, 9), torch.device("cpu"), torch.float64))
    close(y.detach(), torch.einsum("oc,tbchw->tbohw", theirs["conv_last.weight"][:, :, 0, 0], data["h"]))


GATES = {"from_x": "0216354", "from_h": "0213", "from_first": "021", "from_new_first": "0213"}  # theirs, out of ours
LONG = {
    "from_x": ("input_to_state", "x2c"),
    "from_h": ("temporal_state_transition", "h2c"),
    "from_first": ("temporal_memory_transition", "c2c"),
    "from_second": ("spatial_memory_transition", "m2m"),
    "from_new_first": ("c2m", "c2m"),
    "from_new_second": ("m_to_o", "m2o"),
    "mix": ("memory_reduce", ""),
}


def variable(name: str, weight: Tensor) -> tuple[str, Tensor]:
    """A weight of our PredRNN++ as their variable."""
    head, *parts, kind = name.split(".")
    part = parts[1] if head == "layers" else parts[0] if parts else ""
    place, norm = "back_to_pixel", ""
    if head == "highway":
        norm = {"from_x": "input_to_state", "from_z": "state_to_state"}[part]
        place = f"highway/{norm}"
    elif head == "layers":
        long, norm = LONG[part]
        place = f"lstm_{int(parts[0]) + 1}/{long}"
        if part in GATES:
            gates = weight.chunk(len(GATES[part]))
            weight = torch.cat([gates[int(at)] for at in GATES[part]])
    if "norm" in parts:
        return f"{place.partition('/')[0]}/{norm}{'s' if kind == 'weight' else 'b'}", weight
    if kind == "weight":
        return f"{place}/kernel", weight.permute(2, 3, 1, 0)
    return f"{place}/bias", weight


def test_layer_norms_of_tensorflow() -> None:
    """Ours with random weights, written in their names and read back; layers of two widths."""
    options = {"hidden": [2, 3], "kernel": 3, "patch": 2, "form": "released", "highway": "bottom"}
    ours = zoo.create_model("predrnn-pp", **options).double().state_dict()
    generator = torch.Generator().manual_seed(0)
    ours = {name: torch.randn(each.shape, generator=generator).double() for name, each in ours.items()}
    foreign = read_variables(ledger(dict(variable(name, each) for name, each in ours.items())), 1)
    assert foreign.options == options | {"channels": 1, "overrides": {"layer_norm": True}}
    assert foreign.weights.keys() == ours.keys()
    assert all(torch.equal(foreign.weights[name], each) for name, each in ours.items())


@pytest.mark.parametrize("dtype", [">f4", ">f8", np.longdouble])
def test_variables_in_dtypes_that_torch_lacks(dtype: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **{"lstm_1/c2m/bias": np.array([0.5, -2], dtype)})
    tensors, _ = read_arrays(tmp_path / "x.npz")
    assert tensors["lstm_1/c2m/bias"].tolist() == [0.5, -2]


def test_layer_norms_of_torch_that_are_alike_everywhere() -> None:
    _, weights, _ = read("predrnn")
    norms = {}
    for name in [name for name in weights if name.endswith(".0.weight")]:
        count = len(weights[name])
        for kind, value in (("weight", torch.rand(count)), ("bias", torch.rand(count))):
            norms[name.replace(".0.weight", f".1.{kind}")] = value.double()[:, None, None].expand(count, 4, 4).clone()
    foreign = read_predrnn(ledger(weights | norms), 1)
    assert foreign.options["overrides"] == {"bias": False, "layer_norm": True}
    network(foreign)
    norms["cell_list.1.conv_h.1.bias"][0, 1, 2] += 1
    with pytest.raises(ZooError, match=r"conv_h.1.bias differs from pixel to pixel"):
        read_predrnn(ledger(weights | norms), 1)


# ---- the command --------------------------------------------------------------------------------------------------


def save(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    meta, weights, data = read("predrnn")
    file = {"net_param": weights | {"adapter.weight": torch.ones(4, 4, 1, 1)}}
    source, output = save(tmp_path / "model.ckpt-10", file), tmp_path / "x.safetensors"
    assert (
        run_command("import", "predrnn-pytorch", source, "-o", output, "--dataset", "python", "--size", "[8,12]") == 0
    )
    said = capsys.readouterr().out
    assert "ignored: adapter.weight: only the loss of PredRNN-v2 reads it" in said
    assert "predrnn with hidden = [4, 4], kernel = 3" in said
    model, recipe = load_weights(output)
    assert (recipe.model, recipe.data.frame) == ("predrnn", (8, 12))
    x, y = (unpatchify(data[name].permute(0, 1, 4, 2, 3), 2).float() for name in "xy")
    torch.testing.assert_close(model(x[:, : meta["input_frames"]], meta["future_frames"]), y, rtol=0, atol=1e-5)


def test_files_as_each_code_base_writes_them(tmp_path: Path) -> None:
    _, weights, _ = read("predrnn_pp")
    lightning = {"state_dict": {f"model.{name}": each for name, each in weights.items()}, "epoch": 3}
    imported = import_weights("openstl", save(tmp_path / "best.ckpt", lightning))
    assert imported.recipe.model == "predrnn-pp"
    assert len(imported.remarks) == 3  # dead convolutions, one a layer
    meta, weights, _ = read("net_conv_tt_lstm_sw")
    parallel = {f"module.{name}": each for name, each in conv_tt_lstm_names(weights, meta).items()}
    imported = import_weights("conv-tt-lstm", save(tmp_path / "x.pt", {"epoch": 1, "model_state_dict": parallel}))
    assert imported.recipe.options["layers"] == [2, 1, 1, 2]
    optimiser = {"predrnn_pp/lstm_1/c2m/kernel/Adam": torch.ones(1), "beta1_power": torch.ones(1)}
    imported = import_weights(
        "predrnn-pp", npz(tmp_path / "x.npz", tensorflow_names(read("predrnn_pp")[1]) | optimiser), dataset="kth"
    )
    assert imported.recipe.data.frame == (128, 128)
    assert imported.remarks == ["ignored: 2 arrays such as predrnn_pp/lstm_1/c2m/kernel/Adam: the optimiser's state"]


OTHERS = {
    "MIM": "stlstm_layer.0.conv_x.0.weight",
    "PhyDNet": "encoder.phycell.cell_list.0.F.conv1.weight",
    "SimVP": "enc.enc.0.conv.conv.weight",
    "MAU": "cell_list.0.conv_t.0.weight",
    "SwinLSTM": "Downsample.patch_embed.proj.weight",
    "E3D-LSTM": "cell_list.0.conv_x.0.conv3d.weight",
    "an action-conditioned PredRNN": "cell_list.0.conv_a.0.weight",
}


@pytest.mark.parametrize("method", OTHERS)
def test_another_method_is_named(method: str, tmp_path: Path) -> None:
    file = save(tmp_path / "x.ckpt", {"state_dict": {f"model.{OTHERS[method]}": torch.ones(2, 2)}})
    with pytest.raises(ZooError, match=f"is of {method}.*these can be imported: PredRNN, PredRNN\\+\\+, ConvLSTM"):
        import_weights("openstl", file)


def test_an_unknown_method_is_named_by_the_file_itself(tmp_path: Path) -> None:
    content = {"state_dict": {"model.net.weight": torch.ones(2, 2)}, "hyper_parameters": {"method": "crevnet"}}
    with pytest.raises(ZooError, match=r"net.weight, of no known method \(its settings say 'crevnet'\)"):
        import_weights("openstl", save(tmp_path / "x.ckpt", content))


KINDS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], str]] = {  # changes of a weight, and words of the error
    "whole numbers": (torch.Tensor.int, "conv_m.0.weight holds torch.int32, strided, but must hold dense floating"),
    "complex": (torch.Tensor.cfloat, "holds torch.complex64, strided"),
    "sparse": (torch.Tensor.to_sparse, "holds torch.float64, sparse_coo"),
    "no values": (lambda weight: weight.to("meta"), "holds values on meta"),
    "too large": (lambda weight: weight.double() * 1e300, "has values that are not finite"),
}


def bad(name: str, tmp_path: Path) -> tuple[str, Path, str]:
    """A source, a file and the words of the error."""
    _, weights, _ = read("predrnn")
    first = "cell_list.1.conv_m.0.weight"
    if name == "missing":
        return "openstl", save(tmp_path / "x.pt", {k: w for k, w in weights.items() if k != first}), f"lacks {first}"
    if name == "left over":
        extra = {f"cell_list.0.conv_q.{at}.weight": torch.ones(2, 2) for at in range(7)}
        return (
            "openstl",
            save(tmp_path / "x.pt", weights | extra),
            "conv_q.4.weight and 2 more, which no PredRNN of openstl",
        )
    if name == "shape":
        return (
            "openstl",
            save(tmp_path / "x.pt", weights | {first: weights[first][:, :3]}),
            r"\(12, 3, 3, 3\), but a PredRNN",
        )
    if name == "rank":
        return "openstl", save(tmp_path / "x.pt", weights | {"conv_last.weight": torch.ones(4)}), "has 4 dimensions"
    if name == "nan":
        return (
            "openstl",
            save(tmp_path / "x.pt", weights | {first: weights[first] / 0}),
            "has values that are not finite",
        )
    if name in KINDS:
        change, words = KINDS[name]
        return "openstl", save(tmp_path / "x.pt", weights | {first: change(weights[first])}), words
    if name == "no folding":
        wide = weights | {"conv_last.weight": torch.ones(5, 4, 1, 1).double()}
        return "openstl", save(tmp_path / "x.pt", wide), "5 folded channels"
    if name == "another source":
        return "conv-tt-lstm", save(tmp_path / "x.pt", weights), "is of PredRNN; these can be imported: the Conv-TT"
    if name == "other code":
        return (
            "predrnn-pytorch",
            save(tmp_path / "x.pt", read("predrnn_pp")[1]),
            r"is of PredRNN\+\+; .* imported: PredRNN$",
        )
    if name == "object":
        return "openstl", save(tmp_path / "x.pt", {"net": torch.nn.Linear(2, 2)}), "If it holds more than tensors"
    if name == "missing file":
        return "openstl", tmp_path / "none.pt", "none.pt"
    if name == "tensorflow":
        (tmp_path / "model.ckpt-80000.index").touch()
        return "openstl", tmp_path / "model.ckpt-80000", r"is a TensorFlow checkpoint.*numpy.savez"
    if name == "tensorflow's data":
        return "predrnn-pp", tmp_path / "model.ckpt-80000.data-00000-of-00001", "is a TensorFlow checkpoint"
    if name == "no npz":
        return "predrnn-pp", save(tmp_path / "x.pt", weights), "is not an .npz file of PredRNN"
    if name == "damaged npz":
        (tmp_path / "x.npz").write_bytes(b"PK\x03\x04none")
        return "predrnn-pp", tmp_path / "x.npz", "cannot be read"
    if name == "bomb":
        np.savez_compressed(tmp_path / "x.npz", x=np.zeros(10**8, np.uint8))
        return "predrnn-pp", tmp_path / "x.npz", "far more memory"
    if name == "integers":
        np.savez(tmp_path / "x.npz", x=np.zeros(3, int))
        return "predrnn-pp", tmp_path / "x.npz", "floating-point"
    arrays = tensorflow_names(read("predrnn_pp")[1])
    twice = {"other/lstm_1/c2m/bias": arrays["predrnn_pp/lstm_1/c2m/bias"]}
    return "predrnn-pp", npz(tmp_path / "x.npz", arrays | twice), "two arrays lstm_1/c2m/bias"


@pytest.mark.parametrize(
    "name",
    [
        "missing",
        "left over",
        "shape",
        "rank",
        "nan",
        *KINDS,
        "no folding",
        "another source",
        "other code",
        "object",
        "missing file",
        "tensorflow",
        "tensorflow's data",
        "no npz",
        "damaged npz",
        "bomb",
        "integers",
        "two networks",
    ],
)
def test_bad_files(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, file, words = bad(name, tmp_path)
    with pytest.raises(ZooError, match=words):
        import_weights(source, file)
    before = sorted(tmp_path.iterdir())
    assert run_command("import", source, file, "-o", tmp_path / "out.safetensors") == 2
    assert capsys.readouterr().err.startswith("zoo: ")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dataset": "lorenz"}, "lorenz is not a video data set"),
        ({"channels": 4}, "moving-mnist is grey"),
        ({"size": 63}, "63×63"),
        ({"sigmoid": True}, "ends with a sigmoid"),
        ({"source": "openst"}, "did you mean 'openstl'"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any], words: str, tmp_path: Path) -> None:
    file = save(tmp_path / "x.pt", read("predrnn")[1])
    with pytest.raises(ZooError, match=words):
        import_weights(**{"source": "openstl", "path": file} | settings)
