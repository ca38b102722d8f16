"""The file formats that the two packages read: how a good file of each is written, and how it is read."""

import csv
import gzip
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from tests.support.videos import make_kth, write_video


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        name: in the table.
        write: writes a good file into an empty folder, and what belongs to it; returns the file to mutate.
        read: reads it from the folder: plain values, arrays and tensors.
        checked: what a checksum covers, so that no other may be accepted: the "content", whoever wrote the file; or the
            "bytes", which a well-formed mutant writes anew, checksum included.
        kind: how well-formed mutants are made: "json", "yaml", "csv", "torch", "text", or "" for bytes alone.
        changes: whether reading changes the files.
    """

    name: str
    write: Callable[[Path], Path]
    read: Callable[[Path], Any]
    checked: Literal["", "bytes", "content"] = ""
    kind: str = ""
    changes: bool = False


def _normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))


def _state() -> dict[str, Tensor]:
    return {"a.weight": _normal(1, 4, 3, 3, 3), "a.bias": _normal(2, 4), "b.weight": _normal(3, 4, 4, 3, 3)}


# ---- tensortrain ----------------------------------------------------------------------------------------------


def _train(folder: Path) -> Path:
    from tensortrain import TensorTrain

    TensorTrain([_normal(0, 1, 4, 2), _normal(1, 2, 5, 1)]).save(folder / "train.safetensors")
    return folder / "train.safetensors"


def _read_train(folder: Path) -> Any:
    from tensortrain import TensorTrain

    return TensorTrain.load(folder / "train.safetensors").cores


def _matrix(folder: Path) -> Path:
    from tensortrain import TensorTrainMatrix

    TensorTrainMatrix([_normal(0, 1, 2, 3, 2), _normal(1, 2, 2, 2, 1)]).save(folder / "matrix.safetensors")
    return folder / "matrix.safetensors"


def _read_matrix(folder: Path) -> Any:
    from tensortrain import TensorTrainMatrix

    return TensorTrainMatrix.load(folder / "matrix.safetensors").cores


def _chain(folder: Path) -> Path:
    from tensortrain import ConvTensorTrain

    ConvTensorTrain([_normal(0, 4, 2, 3, 1), _normal(1, 2, 3, 1, 3)]).save(folder / "chain.safetensors")
    return folder / "chain.safetensors"


def _read_chain(folder: Path) -> Any:
    from tensortrain import ConvTensorTrain

    return ConvTensorTrain.load(folder / "chain.safetensors").cores


def _compressed(folder: Path) -> Path:
    import tensortrain as tt

    torch.manual_seed(0)
    tt.nn.save(tt.nn.decompose(_network(), (2, 2), ranks=2), folder / "network.safetensors")
    return folder / "network.safetensors"


def _read_compressed(folder: Path) -> Any:
    import tensortrain as tt

    return dict(tt.nn.load(_network(), folder / "network.safetensors").state_dict())


def _safetensors(folder: Path) -> Path:
    from safetensors.torch import save_file

    save_file(_state(), folder / "weights.safetensors")
    return folder / "weights.safetensors"


def _sharded(folder: Path) -> Path:
    from safetensors.torch import save_file

    for name, tensor in _state().items():
        save_file({name: tensor}, folder / f"{name}.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {name: f"{name}.safetensors" for name in _state()}}))
    return index


def _torch_zip(folder: Path) -> Path:
    torch.save({"epoch": 3, "state_dict": _state()}, folder / "weights.pt")
    return folder / "weights.pt"


def _torch_legacy(folder: Path) -> Path:
    torch.save(_state(), folder / "weights.pth", _use_new_zipfile_serialization=False)
    return folder / "weights.pth"


def _read_checkpoint(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from tensortrain.compression.state_dicts.checkpoints import read_checkpoint

        checkpoint = read_checkpoint(folder / name)
        return getattr(checkpoint, "tensors", checkpoint)

    return read


# ---- runs and weights of the zoo ------------------------------------------------------------------------------


def _recipe() -> Any:
    import zoo

    training = {"steps": 2, "validate_every": 1, "validation_clips": 2, "log_every": 1, "batch_size": 2}
    data = {"size": 28, "observed": 2, "length": 4, "source": "embedded"}
    options = {"hidden": [2], "layers": [1], "patch": 4}
    return zoo.recipe("conv-lstm", "demo", options, data=data, training={**training, "accelerator": "cpu"})


def _run(part: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        import zoo

        zoo.fit(_recipe(), folder / "run", progress=False)
        return folder / "run" / part

    return write


def _read_run_checkpoint(folder: Path) -> Any:
    from zoo.training.checkpoint import load_checkpoint

    return load_checkpoint(folder / "run" / "checkpoints" / "last.ckpt")


def _read_config(folder: Path) -> Any:
    from zoo.settings import to_plain
    from zoo.training.run_folder import read_recipe

    return to_plain(read_recipe(folder / "run" / "config.yaml"))


def _read_versions(folder: Path) -> Any:
    from zoo.training.run_folder import read_sessions

    return read_sessions(folder / "run" / "versions.json")


def _resume(folder: Path) -> Any:
    """Resume the run: its metrics must be those that its checkpoint knows, whatever the file has become."""
    import zoo

    zoo.fit(_recipe(), folder / "run", progress=False)
    return metrics(folder / "run")


def metrics(folder: Path) -> list[dict[str, str]]:
    """The metrics of a run without their times."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def _weights(folder: Path) -> Path:
    import zoo
    from zoo.model_files.pretrained import save_weights

    recipe = _recipe()
    torch.manual_seed(0)
    save_weights(folder / "model.safetensors", zoo.create_model(recipe.model, **recipe.options), recipe)
    return folder / "model.safetensors"


def _read_weights(folder: Path) -> Any:
    from zoo.model_files.pretrained import load_weights
    from zoo.settings import to_plain

    model, recipe = load_weights(folder / "model.safetensors")
    return dict(model.state_dict()), to_plain(recipe)


# ---- data -----------------------------------------------------------------------------------------------------


def _idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def _mnist(suffix: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        pack = gzip.compress if suffix else bytes
        images = np.random.default_rng(0).integers(0, 256, (10_000, 28, 28), np.uint8)
        labels = np.arange(10_000, dtype=np.uint8) % 10
        (folder / "mnist").mkdir()
        for part in ("t10k", "train"):
            (folder / "mnist" / f"{part}-images-idx3-ubyte{suffix}").write_bytes(pack(_idx(images)))
            (folder / "mnist" / f"{part}-labels-idx1-ubyte{suffix}").write_bytes(pack(_idx(labels)))
        return folder / "mnist" / f"t10k-images-idx3-ubyte{suffix}"

    return write


def _read_mnist(folder: Path) -> Any:
    from zoo.data.digits import load_digits

    return tuple(load_digits("test", folder, "mnist"))


def _moving_mnist(folder: Path) -> Path:
    frames = np.random.default_rng(0).integers(0, 256, (20, 2, 64, 64), np.uint8)
    np.save(folder / "mnist_test_seq.npy", frames)
    return folder / "mnist_test_seq.npy"


def _read_moving_mnist(folder: Path) -> Any:
    from zoo.data.moving_mnist import PublishedMovingMNIST

    return PublishedMovingMNIST(folder / "mnist_test_seq.npy").clips(range(2))


def _sequences(folder: Path) -> Path:
    make_kth(folder / "kth")
    return folder / "kth" / "00sequences.txt"


def _read_sequences(folder: Path) -> Any:
    from zoo.data.kth_annotations import read_sequences

    return read_sequences(folder / "kth" / "00sequences.txt")


def _store(part: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        from zoo.data import prepare_kth

        make_kth(folder / "clips")
        prepare_kth(folder / "root", folder / "clips", size=16, progress=False)
        return next(path for path in sorted((folder / "root").rglob(part)))

    return write


def _read_store(folder: Path) -> Any:
    from zoo.data.frame_store import Store

    store = Store(next((folder / "root" / "kth").glob("store*")))
    store.check(list(store.clips))  # as every data set does before its clips are used
    return {name: store.read(name, 0, 10_000) for name in store.clips}


def _video(suffix: str, codec: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        return write_video(folder / f"clip{suffix}", 12, codec=codec)

    return write


def _read_video(suffix: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from zoo.data.decode import BadVideo, decode
        from zoo.errors import ZooError

        try:
            with (folder / f"clip{suffix}").open("rb") as file:
                return list(decode(file, (16, 16), grey=True))
        except BadVideo as error:  # what the store reports, by name, as the reason for leaving a video out
            raise ZooError(str(error)) from None

    return read


FORMATS = [
    Format("tensor train", _train, _read_train, checked="content"),
    Format("TT-matrix", _matrix, _read_matrix, checked="content"),
    Format("conv chain", _chain, _read_chain, checked="content"),
    Format("compressed network", _compressed, _read_compressed, checked="content"),
    Format("safetensors of others", _safetensors, _read_checkpoint("weights.safetensors")),
    Format("sharded index", _sharded, _read_checkpoint("model.safetensors.index.json"), kind="json"),
    Format("torch file", _torch_zip, _read_checkpoint("weights.pt"), checked="bytes", kind="torch"),
    Format("torch file, legacy", _torch_legacy, _read_checkpoint("weights.pth")),
    Format("run: checkpoint", _run("checkpoints/last.ckpt"), _read_run_checkpoint, checked="content", kind="torch"),
    Format("run: config.yaml", _run("config.yaml"), _read_config, kind="yaml"),
    Format("run: versions.json", _run("versions.json"), _read_versions, kind="json"),
    Format("run: metrics.csv, resumed", _run("metrics.csv"), _resume, checked="content", kind="csv", changes=True),
    Format("exported weights", _weights, _read_weights, checked="content"),
    Format("MNIST", _mnist(""), _read_mnist),
    Format("MNIST, gzip", _mnist(".gz"), _read_mnist, checked="bytes"),
    Format("Moving-MNIST test file", _moving_mnist, _read_moving_mnist),
    Format("KTH sequences", _sequences, _read_sequences, kind="text"),
    Format("frame store: manifest", _store("manifest.json"), _read_store, kind="json"),
    Format("frame store: frames", _store("*.npy"), _read_store, checked="content"),
    Format("video, AVI", _video(".avi", "mjpeg"), _read_video(".avi")),
    Format("video, MP4", _video(".mp4", "mpeg4"), _read_video(".mp4")),
    Format("video, Matroska", _video(".mkv", "mpeg4"), _read_video(".mkv")),
]
