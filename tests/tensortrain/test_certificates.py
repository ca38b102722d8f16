"""What `certificate` and `verify --certificate` claim: intervals, lower bounds, evaluations; the files they write."""

import dataclasses
import json
import math
import shlex
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import tensortrain as tt
from tensortrain import ConvTensorTrain, TensorTrainError
from tensortrain.compression import certificates
from tensortrain.compression.state_dicts.records import Changes
from tensortrain.conv.certify import claims, evaluations, lower_bounds
from tensortrain.conv.certify.intervals import error_interval, gamma, norm_interval
from tests.support import oracles
from tests.support.certificates import accepted, composed, entries, flat, truth
from tests.support.command import normal, run
from tests.support.examples import examples

# ---- intervals ----------------------------------------------------------------------------------------------------


@st.composite
def chains(draw):
    """Cores, groups and a weight near their kernel, far from it or equal to it, of any scale and dtype."""
    order, axes, shared = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    ranks = [shared * draw(st.integers(1, 3)) for _ in range(order + 1)]
    sizes = [[draw(st.integers(1, 3)) for _ in range(axes)] for _ in range(order)]
    dtype = draw(st.sampled_from([torch.float64, torch.float32, torch.bfloat16]))
    scale, seed = 10.0 ** draw(st.integers(-12, 12)), draw(st.integers(0, 999))
    cores = [
        (oracles.floats(seed + l, ranks[l], ranks[l + 1] // shared, *sizes[l]) * scale).to(dtype) for l in range(order)
    ]
    kernel = ConvTensorTrain(cores, groups=[shared] * order).to(torch.float64).reconstruct()
    noise = oracles.floats(seed + 9, *kernel.shape) * kernel.abs().max()
    return cores, [shared] * order, (kernel + draw(st.sampled_from([0.0, 1e-7, 1.0, 1e3])) * noise).to(dtype)


@examples(40)
@given(problem=chains())
def test_the_exact_error_is_in_a_narrow_interval(problem):
    cores, groups, weight = problem
    low, high = error_interval(weight, groups[0], cores, groups)
    exact, own = flat(composed(cores, groups)), flat(entries(weight, groups[0]))
    distance, norm = sum((exact[key] - own[key]) ** 2 for key in own), sum(value**2 for value in own.values())
    assert Fraction(low) ** 2 * norm <= distance <= Fraction(high) ** 2 * norm
    assert high - low <= 1e-13 * max(1.0, high)


@pytest.mark.parametrize("size", [1, 3, 2**20 + 1])
def test_norms_are_in_intervals_of_a_few_digits(size):
    x = oracles.floats(0, size)
    squares = x.square().tolist()
    exact = math.fsum(squares) if size > 3 else float(sum(Fraction(v) ** 2 for v in x.tolist()))
    low, high = norm_interval(x)
    assert low * (1 - 1e-16) <= math.sqrt(exact) <= high * (1 + 1e-16)
    assert high - low < 1e-14 * high


def test_an_interval_at_the_size_of_a_layer_is_narrow():
    """Cores of 64×64×3×3; 512×512×3×3 is in docs/tasks/certificates.md."""
    cores = [oracles.floats(0, 64, 16, 1, 1), oracles.floats(1, 16, 16, 3, 3), oracles.floats(2, 16, 64, 1, 1)]
    cores = [core.float() for core in cores]
    weight = ConvTensorTrain(cores).reconstruct()
    low, high = error_interval(weight + 0.1 * oracles.floats(3, *weight.shape).float(), 1, cores, [1, 1, 1])
    assert high - low < 1e-12


def test_too_many_operations_leave_no_digit():
    assert 2**-23 < gamma(2, 24) < 2**-23 * (1 + 1e-6)
    with pytest.raises(TensorTrainError, match="leave no correct digit"):
        gamma(2**23, 24)


def test_what_cannot_be_certified_is_refused():
    chain = ConvTensorTrain([oracles.floats(0, 4, 2, 3), oracles.floats(1, 2, 3, 1)])
    weight = chain.reconstruct()
    with pytest.raises(TensorTrainError, match=r"weight has shape \(4, 3, 2\), but the chain.s kernel has \(4, 3, 3\)"):
        chain.certificate(weight[..., :2])
    with pytest.raises(TensorTrainError, match="relative distance from zero"):
        chain.certificate(torch.zeros_like(weight))
    with pytest.raises(TensorTrainError, match=r"weight is torch.complex64.*use .float|weight.*complex"):
        chain.certificate(weight.to(torch.complex64))
    with pytest.raises(TensorTrainError, match=r"more than 2\^500 times the weight"):
        chain.certificate(weight * 1e-200)


# ---- lower bounds -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "sizes", "ranks"),
    [
        ((6, 5, 3, 3), (2, 2), 2),  # by the spectrum
        ((6, 5, 3, 3), "separable", 4),  # by the unfolding between the axes: the optimum
        ((3, 4, 5, 3), "tucker2", 2),  # by an unfolding of one side
        ((4, 6, 3), [(2,), (2,)], 1),
    ],
)
def test_lower_bounds_are_proved_and_near_those_of_float64(shape, sizes, ranks, tmp_path):
    weight = oracles.floats(0, *shape).float()
    chain = ConvTensorTrain.decompose(weight, sizes, ranks=ranks)
    certificate = chain.certificate(weight)
    assert 0 < certificate.lower_bound <= certificate.error[1]
    assert certificate.lower_bound >= 0.85 * chain.lower_bound
    certificate.save(tmp_path / "layer.json")
    assert truth(tmp_path / "layer.json")


def test_a_chain_of_groups_beside_a_weight_without(tmp_path):
    """A depthwise core of an ungrouped kernel: off its diagonal the weight is all error."""
    weight = oracles.floats(0, 4, 4, 3).float()
    certificate = ConvTensorTrain([oracles.floats(1, 4, 1, 3).float()], groups=[4]).certificate(weight)
    assert certificate.error[1] - certificate.error[0] < 1e-13
    certificate.save(tmp_path / "layer.json")
    assert truth(tmp_path / "layer.json")
    assert accepted(tmp_path / "layer.json") is not None


def test_a_bound_that_takes_more_than_a_minute_to_check_is_not_certified(monkeypatch, tmp_path):
    weight = oracles.floats(0, 6, 5, 3, 3).float()
    chain = ConvTensorTrain.decompose(weight, (2, 2), ranks=2)
    monkeypatch.setattr(lower_bounds, "MOST", 10)
    certificate = chain.certificate(weight)
    assert certificate.lower_bound is None
    certificate.save(tmp_path / "layer.json")
    assert json.loads((tmp_path / "layer.json").read_text())["layers"][0]["bound"] == "not certified"
    assert "(B)" not in accepted(tmp_path / "layer.json")


def test_ranks_that_suffice_have_no_lower_bound():
    chain = ConvTensorTrain([oracles.floats(0, 3, 3, 2, 1), oracles.floats(1, 3, 3, 1, 2)])
    assert chain.certificate(oracles.floats(2, 3, 3, 2, 2)).lower_bound is None or chain.ranks[1] < 6
    assert ConvTensorTrain([oracles.floats(3, 3, 2, 3)]).certificate(oracles.floats(4, 3, 2, 3)).lower_bound is None


# ---- evaluations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("sizes", "transposed"), [((3, 1, 2), False), ((2, 3), True)])
def test_an_evaluation_is_certified(dtype, sizes, transposed, tmp_path):
    weight = oracles.floats(0, 3, 2, sum(sizes) - len(sizes) + 1).to(dtype)
    chain = ConvTensorTrain.decompose(weight, [(k,) for k in sizes], ranks=2, transposed=transposed)
    x = oracles.floats(1, 2, chain.in_channels, 6).to(dtype)
    inputs = [None] * (len(sizes) - 1) + [x]
    certificate = chain.certificate(weight, x)
    low, high = certificate.evaluation.error
    assert low <= high < (1e-6 if dtype == torch.float32 else 1e-13)
    assert high <= certificate.evaluation.gamma * 20
    assert torch.equal(certificate.evaluation.output, chain.as_conv().evaluate(inputs))
    certificate.save(tmp_path / "layer.json")
    assert accepted(tmp_path / "layer.json").count("(D)") == 1
    assert truth(tmp_path / "layer.json")


def test_without_the_probe_there_is_no_claim_about_evaluations(monkeypatch):
    weight = oracles.floats(0, 3, 2, 3).float()
    chain = ConvTensorTrain.decompose(weight, [(2,), (2,)], ranks=2)
    monkeypatch.setattr(evaluations, "sums_directly", lambda call, like: call.shapes[1][1] == 2)
    chain.certificate(weight, torch.ones(1, 2, 6))
    monkeypatch.setattr(evaluations, "sums_directly", lambda call, like: False)
    with pytest.raises(
        TensorTrainError,
        match=r"does not sum plain products, so its rounding errors have no bound.*cudnn.enabled = Fal",
    ):
        chain.certificate(weight, torch.ones(1, 2, 6))


def test_inputs_that_do_not_fit_and_short_dtypes_are_refused():
    weight = oracles.floats(0, 3, 2, 3).bfloat16()
    chain = ConvTensorTrain.decompose(weight, [(2,), (2,)], ranks=2)
    with pytest.raises(TensorTrainError, match=r"an evaluation in torch.bfloat16 cannot be certified; use chain.to"):
        chain.certificate(weight, torch.ones(1, 2, 6).bfloat16())
    with pytest.raises(TensorTrainError, match="inputs"):
        chain.certificate(weight, torch.ones(1, 3, 6).bfloat16())


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.full((1, 2, 6), math.nan), "inputs holds 12 NaN or infinite entries"),
        (torch.full((1, 2, 6), math.inf), "inputs holds 12 NaN or infinite entries"),
        (
            torch.full((1, 2, 6), 3e38),
            r"a relative distance of (nan|inf) cannot be certified, because numbers overflow",
        ),
        (torch.ones(0, 2, 6), r"inputs is empty: shape \(0, 2, 6\)"),
        (torch.ones(1, 2, 6, device="meta"), "inputs is on the meta device"),
        ([1.0], "inputs is a list"),
    ],
)
def test_inputs_without_a_finite_evaluation_are_refused(inputs, message):
    """No checker could read an interval from 0 to NaN."""
    weight = torch.ones(3, 2, 3)
    chain = ConvTensorTrain.decompose(weight, [(2,), (2,)], ranks=2)
    with pytest.raises(TensorTrainError, match=message):
        chain.certificate(weight, inputs)


@pytest.mark.filterwarnings("error")
def test_weights_and_inputs_of_any_layout_are_certified(tmp_path):
    weight, x = oracles.floats(0, 4, 3, 3, 3).float(), oracles.floats(1, 1, 3, 4, 5).float()
    chain = ConvTensorTrain.decompose(weight, "separable", ranks=2)
    last = torch.channels_last
    turned = weight.permute(3, 2, 0, 1).contiguous().permute(2, 3, 1, 0)
    some = chain.certificate(weight, x).claims.entry("w", ["a", "b"])
    for other in (weight.to(memory_format=last), turned, torch.nn.Parameter(weight), torch._neg_view(-weight)):
        certificate = chain.certificate(other, x.to(memory_format=last).requires_grad_())
        assert certificate.claims.entry("w", ["a", "b"]) == some
        certificate.save(tmp_path / "layer.json")
        assert accepted(tmp_path / "layer.json")


def test_a_chain_with_entries_that_are_not_finite_is_refused():
    weight = torch.ones(3, 2, 3)
    chain = ConvTensorTrain.decompose(weight, [(2,), (2,)], ranks=2)
    broken = torch.utils._pytree.tree_map(lambda core: core * math.nan, chain)
    with pytest.raises(TensorTrainError, match=r"cores\[0\] holds 12 NaN"):
        broken.certificate(weight)


# ---- files --------------------------------------------------------------------------------------------------------


def test_certificates_whose_names_have_dots_do_not_share_files(tmp_path):
    names = ("layer1.0", "layer1.1", "layer1.json", "layer1.0.json.json", "x.JSON")
    for seed, name in enumerate(names):
        weight = oracles.floats(seed, 3, 2, 3)
        ConvTensorTrain.decompose(weight, [(2,), (2,)], ranks=2).certificate(weight).save(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir() if "weight" in path.name) == [
        "layer1.0.json.weight.safetensors",
        "layer1.0.weight.safetensors",
        "layer1.1.weight.safetensors",
        "layer1.weight.safetensors",
        "x.weight.safetensors",
    ]
    for name in names:
        assert accepted(tmp_path / name)


@pytest.mark.parametrize("folder", ["layer", "layer.json", "layer.evaluation.safetensors", "layer.weight.safetensors"])
def test_a_certificate_is_written_whole_or_not_at_all(tmp_path, folder):
    (tmp_path / folder).mkdir()
    weight = oracles.floats(0, 3, 2, 3)
    certificate = ConvTensorTrain.decompose(weight, [(2,), (2,)], ranks=2).certificate(
        weight, torch.ones(1, 2, 6).double()
    )
    with pytest.raises(TensorTrainError, match=f"cannot write .*{folder}: it is a folder"):
        certificate.save(tmp_path / ("layer" if folder == "layer" else "layer.json"))
    assert [path.name for path in tmp_path.iterdir()] == [folder]
    with pytest.raises(TensorTrainError, match="NoneType"):
        certificate.save(None)


# ---- networks -----------------------------------------------------------------------------------------------------


OPTIONS = ("--kernel-sizes", "separable", "--ranks", "2")


@pytest.fixture
def network(tmp_path):
    """A decomposed network and its checkpoint."""
    shapes = {"module.first.weight": (6, 4, 3, 3), "module.second.weight": (4, 6, 3, 3), "module.first.bias": (6,)}
    save_file({name: normal(i, *shape) for i, (name, shape) in enumerate(shapes.items())}, tmp_path / "net.safetensors")
    assert run("decompose", tmp_path / "net.safetensors", "-o", tmp_path / "small.st", *OPTIONS) == 0
    return tmp_path


def verify(folder, against, *options, certificate="out.json"):
    files = [folder / "small.st", "--against", folder / against, "--certificate", folder / certificate]
    return run("verify", *files, *options)


def test_every_layer_is_certified(network, capsys):
    assert verify(network, "net.safetensors") == 0
    printed = capsys.readouterr().out
    assert "verified" in printed
    assert printed.splitlines()[-1].startswith("check with: python -m tensortrain_check")
    assert accepted(network / "out.json").count("(A)") == 2
    assert truth(network / "out.json")
    document = json.loads((network / "out.json").read_text())
    assert [name for name, _ in document["files"]] == ["small.st", "net.safetensors"]
    assert f"torch {torch.__version__}" in document["written_by"]


def test_some_layers_are_certified(network, capsys, monkeypatch):
    monkeypatch.setattr(claims, "PER_ENTRY", 1.0)
    assert verify(network, "net.safetensors", "--layers", "sec*") == 0
    assert "the exact check of second takes about 4 minutes; use --layers to" in capsys.readouterr().out
    assert [layer["weight"] for layer in json.loads((network / "out.json").read_text())["layers"]] == [
        "module.second.weight"
    ]
    assert verify(network, "net.safetensors", "--layers", "third") == 2
    assert "'third' matches no decomposed layer; there are: first, second" in capsys.readouterr().err
    assert run("verify", network / "small.st", "--against", network / "net.safetensors", "--layers", "first") == 2


def test_a_network_that_is_not_verified_is_not_certified(network):
    tensors = load_file(network / "net.safetensors")
    save_file({**tensors, "module.first.weight": tensors["module.first.weight"] + 1}, network / "net.safetensors")
    assert verify(network, "net.safetensors") == 1
    assert not (network / "out.json").exists()


def test_linear_layers_are_certified_too(network, capsys):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 8))
    save_file(net.state_dict(), network / "net.safetensors")
    (network / "small.st").unlink()
    tt.compress(net, normal(0, 100, 8), parameters=0.5).save(network / "small.st")
    assert verify(network, "net.safetensors") == 0
    assert "(B)" in accepted(network / "out.json")
    assert truth(network / "out.json")


def test_a_part_of_a_tensor_is_left_out(network, monkeypatch, capsys):
    """As the joint projections of attention, of which `compress` makes three layers."""
    tensors = load_file(network / "net.safetensors")
    joint = {"module.a.in_proj_weight": torch.cat([tensors.pop("module.first.weight")] * 3)}
    save_file({**tensors, **joint}, network / "net.safetensors")
    records = certificates.read_network(network / "small.st")
    renamed = [dataclasses.replace(records[1][0], weight="a.q_proj.weight"), records[1][1]]
    monkeypatch.setattr(certificates, "read_network", lambda path: (records[0], renamed))
    monkeypatch.setattr(certificates, "read_changes", lambda path: Changes(exchanged=["a"]))
    with pytest.raises(TensorTrainError, match=r"a.q_proj.weight is a part of a tensor in .*exclude it with --layers"):
        certificates.certify_network(network / "small.st", network / "net.safetensors", network / "out.json")
    certificates.certify_network(network / "small.st", network / "net.safetensors", network / "out.json", ["second"])
    assert truth(network / "out.json")


@pytest.mark.parametrize("kind", ["torch", "index", "parts"])
def test_a_checkpoint_that_the_checker_does_not_read_is_refused_with_the_command_that_converts_it(
    network, kind, capsys
):
    tensors = load_file(network / "net.safetensors")
    if kind == "torch":
        against = "net.pt"
        torch.save(tensors, network / against)
    elif kind == "index":
        against = "net.safetensors.index.json"
        shards = {name: f"net-{i % 2}.safetensors" for i, name in enumerate(tensors)}
        for shard in set(shards.values()):
            save_file({name: tensors[name] for name in tensors if shards[name] == shard}, network / shard)
        index = {"metadata": {}, "weight_map": shards}
        (network / against).write_text(json.dumps(index))
    else:
        against = "parts.safetensors"
        weight = tensors.pop("module.first.weight")
        norm = weight.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
        parts = {"module.first.weight_g": norm, "module.first.weight_v": 2 * weight}
        save_file({**tensors, **parts}, network / against)
        assert run("decompose", network / against, "-o", network / "small.st", *OPTIONS, "--fold") == 0
    assert verify(network, against) == 2
    assert not (network / "out.json").exists()
    message = " ".join(capsys.readouterr().err.split())
    command = shlex.split(message.partition(" with: tensortrain ")[2])
    assert run(*command) == 0
    assert verify(network, command[3]) == 0
    assert truth(network / "out.json")


def test_a_certificate_does_not_overwrite_what_it_is_about(network, capsys):
    assert verify(network, "net.safetensors", certificate="small.st") == 2
    assert verify(network, "net.safetensors", certificate="net.safetensors") == 2
    assert verify(network, "net.safetensors", certificate="absent/out.json") == 2
    assert "absent" in capsys.readouterr().err


@pytest.mark.parametrize("options", [("build.py:f", "data.py:f"), ("data.py:f", "build.py:f"), ("data.py:f", "images")])
def test_a_certificate_does_not_overwrite_the_programs_and_images_that_are_read(network, capsys, monkeypatch, options):
    monkeypatch.chdir(network)
    monkeypatch.setattr("tensortrain.cli.read_network", None)
    (network / "images").mkdir()
    for name in ("build.py", "data.py", "images/0.png"):
        (network / name).write_text("my only copy")
    target = "images/0.png" if "images" in options else "build.py"
    assert verify(network, "net.safetensors", "--network", options[0], "--data", options[1], certificate=target) == 2
    assert "which is an input" in capsys.readouterr().err
    assert (network / target).read_text() == "my only copy"


def test_a_certificate_prints_its_claims_and_no_tensor():
    weight = oracles.floats(0, 8, 6, 3, 3)
    chain = ConvTensorTrain.decompose(weight, "separable", ranks=4)
    printed = repr(chain.certificate(weight, oracles.floats(1, 1, 6, 5, 5)))
    for claim in (f"{chain.error:.6g}", f"is below {chain.lower_bound:.5g}", "evaluation"):
        assert claim in printed
    assert "tensor" not in printed
