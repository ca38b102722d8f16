"""The user's own clips: arrays, folders of images, videos of any shape, and data sets of a user's file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
from tests.support.runs import run_command
from tests.support.tiny import OPTIONS, build
from tests.support.videos import write_video
from zoo.data import Splits, Videos, adapted, make_dataset, pin_data
from zoo.data.splits import split_clips, split_range
from zoo.errors import ZooError
from zoo.predictors.normalizing import normalize
from zoo.registry import find_model
from zoo.settings import ArraysData, ImagesData, PythonData, Recipe

TINY = (
    "--preset demo --options.hidden=[2] --options.layers=[1] --data.length=4 --data.observed=2 --training.steps=2"
    " --training.batch_size=2 --training.validation_clips=2 --training.accelerator=cpu"
)


def write_images(folder: Path, count: int, size: tuple[int, int] = (12, 20), suffix: str = ".png") -> None:
    """Frame t is evenly 10·t grey, and the names only order in their natural way."""
    folder.mkdir(parents=True, exist_ok=True)
    for t in range(count):
        Image.fromarray(np.full((*size, 3), 10 * t, np.uint8)).save(folder / f"frame{t}{suffix}", quality=100)


def numbered(*shape: int, dtype: Any = np.uint8) -> np.ndarray:
    return (np.arange(np.prod(shape)) % 251).reshape(shape).astype(dtype)


def save(path: Path, array: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez_compressed(path, clips=array)
    elif path.suffix == ".h5":
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            file["group/clips"] = array
    else:
        zarr = pytest.importorskip("zarr")
        stored = zarr.open(str(path), mode="w", shape=array.shape, dtype=array.dtype)
        stored[:] = array
    return path


# ---- arrays ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.h5", "a.zarr"])
def test_an_array_of_any_file_becomes_the_same_clips(name: str, tmp_path: Path) -> None:
    array = numbered(10, 6, 3, 8, 4)
    path = save(tmp_path / name, array)
    data = ArraysData(f"arrays:{path}", channels=3, length=6, observed=2)
    clips = make_dataset(data, "test", tmp_path)
    assert torch.equal(clips.clips([0]), torch.from_numpy(array[9:]).float() / 255)
    assert len(clips.digest()) == 64
    assert pin_data(data, tmp_path).size == [8, 4]


@pytest.mark.parametrize(
    ("axes", "shape"), [("NTHWC", (4, 5, 6, 7, 2)), ("TNHWC", (5, 4, 6, 7, 2)), ("CWHTN", (2, 7, 6, 5, 4))]
)
def test_axes_have_any_order(axes: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    array = numbered(*shape)
    data = ArraysData(f"arrays:{save(tmp_path / 'a.npy', array)}", axes=axes, channels=2, length=5, observed=2)
    expected = np.einsum(f"{axes.lower()}->ntchw", array)
    for split, clip in (("val", 2), ("test", 3)):
        frames = make_dataset(data, split, tmp_path).clips([0])  # type: ignore[arg-type]
        assert torch.equal(frames[0], torch.from_numpy(np.ascontiguousarray(expected[clip])).float() / 255)


def test_a_single_recording_is_split_in_time_and_strided(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npy", np.repeat(np.arange(100, dtype=np.uint8), 16).reshape(100, 4, 4))
    data = ArraysData(f"arrays:{path}", length=3, observed=1, stride=3, val=["60:80"], test=["80:"])
    train = make_dataset(data, "train", tmp_path).clips(range(40))
    assert (train * 255).round().max() < 60
    test = make_dataset(data, "test", tmp_path)
    assert {tuple((test[i] * 255).round()[:, 0, 0, 0].int().tolist()) for i in range(len(test))} == {
        (80, 83, 86), (87, 90, 93)
    }  # fmt: skip


@pytest.mark.parametrize(
    ("array", "value_range", "expected"),
    [
        (np.full((3, 4, 2, 2), 0.25, np.float32), [], 0.25),
        (np.full((3, 4, 2, 2), -50, np.int16), [-100, 100], 0.25),
        (np.full((3, 4, 2, 2), 4095, np.uint16), [0, 4095], 1.0),
        (np.ones((3, 4, 2, 2), bool), [], 1.0),
    ],
)
def test_values_are_mapped_from_their_range(
    array: np.ndarray, value_range: list[float], expected: float, tmp_path: Path
) -> None:
    data = ArraysData(f"arrays:{save(tmp_path / 'a.npy', array)}", range=value_range, length=4, observed=1)
    assert torch.allclose(make_dataset(data, "test", tmp_path)[0], torch.tensor(expected))


NAN = np.full((3, 4, 2, 2), np.nan, np.float32)


@pytest.mark.parametrize(
    ("array", "settings", "words"),
    [
        (numbered(4, 4), {}, "array of 2 axes"),
        (numbered(3, 4, 2, 2), {"axes": "NTHWC"}, "names 5 axes"),
        (numbered(3, 4, 2, 2), {"axes": "NTHH"}, "must have T, H and W"),
        (numbered(3, 4, 2, 2, 2), {}, "has 2 channels"),
        (numbered(3, 4, 2, 2, dtype=np.int32), {}, "data.range"),
        (numbered(3, 4, 2, 2), {"range": [5, 1]}, "two numbers"),
        (numbered(3, 4, 2, 2), {"key": "clips"}, "leave out data.key"),
        (numbered(2, 4, 2, 2), {}, "too few clips for three splits: 2"),
        (numbered(3, 2, 2, 2), {}, r"no clip has 4 frames; use a smaller length \(data\.length, which"),
        (NAN, {}, "NaN"),
        (np.full((3, 4, 2, 2), 7.0, np.float32), {}, "are outside the range"),
        (np.full((3, 4, 2, 2), "a"), {}, "must hold integers or floating-point numbers"),
        (np.full((3, 4, 2, 2), None), {}, "cannot be read as an array"),
        (np.zeros((3, 0, 2, 2)), {}, "without values"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused(
    array: np.ndarray, settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    data = ArraysData(f"arrays:{save(tmp_path / 'a.npy', array)}", length=4, observed=1, **settings)
    with pytest.raises(ZooError, match=words):
        make_dataset(data, "test", tmp_path).clips([0])


@pytest.mark.parametrize("name", ["missing.npy", "text.npy", "text.npz", "text.h5", "text.zarr", "text.csv"])
def test_files_that_hold_no_array_are_refused(name: str, tmp_path: Path) -> None:
    if name.startswith("text"):
        (tmp_path / name).write_text("not an array")
    with pytest.raises(ZooError, match=name):
        make_dataset(ArraysData(f"arrays:{tmp_path / name}"), "train", tmp_path)
    assert not (tmp_path / "arrays").exists()


def test_one_of_several_arrays_must_be_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", one=numbered(3, 4, 2, 2), two=numbered(3, 4, 2, 2))
    with pytest.raises(ZooError, match=r"holds 2 arrays; set data.key to one of: one, two"):
        make_dataset(ArraysData(f"arrays:{tmp_path}/a.npz", length=4), "train", tmp_path)
    assert len(make_dataset(ArraysData(f"arrays:{tmp_path}/a.npz", key="two", length=4), "test", tmp_path)) == 1


# ---- images and videos --------------------------------------------------------------------------------------------


def test_folders_of_images_are_clips_in_their_natural_order(tmp_path: Path) -> None:
    for i, suffix in enumerate((".png", ".jpg", ".PNG", ".jpeg")):
        write_images(tmp_path / "in" / f"clip{i}", 12 + i, suffix=suffix)
    data = ImagesData(f"images:{tmp_path}/in", length=12, observed=2, size=[6, 10], val=["clip1"], test=["clip[23]"])
    clips = make_dataset(data, "train", tmp_path)
    assert [round(float(frame.mean()) * 25.5) for frame in clips[0]] == list(range(12))
    assert clips[0].shape == (12, 1, 6, 10)
    assert "from 1 folder of images in " in clips.describe()
    assert make_dataset(data, "test", tmp_path).names == ["clip2", "clip3"]  # type: ignore[attr-defined]
    before = clips.digest()
    write_images(tmp_path / "in" / "clip0", 13)
    assert make_dataset(data, "train", tmp_path).digest() != before


def test_clips_of_images_that_cannot_be_used_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "in"
    for i in range(4):
        write_images(folder / f"clip{i}", 5 + i)
    write_images(folder / "mixed", 5)
    Image.new("RGB", (9, 9)).save(folder / "mixed" / "frame3.png")
    write_images(folder / "broken", 5)
    (folder / "broken" / "frame4.png").write_bytes((folder / "broken" / "frame4.png").read_bytes()[:60])
    write_images(folder / "deep", 4)
    Image.fromarray(numbered(12, 20, dtype=np.uint16)).save(folder / "deep" / "frame0.png")
    write_images(folder / "short", 2)
    (folder / "clip0" / "notes.txt").touch()
    assert run_command("data", f"images:{folder}", "--data.length", "4", "--data-root", tmp_path) == 0
    out = capsys.readouterr().out
    assert "left out: mixed has frames of different sizes: frame0.png has 12×20 pixels and frame3.png 9×9" in out
    assert "left out: broken cannot be read: its frame frame4.png is not a complete PNG or JPEG file" in out
    assert "left out: deep cannot be read: frame0.png has more than 8 bits per value" in out
    assert "too short: short has 2 frames, but a clip needs 4" in out
    assert "neither videos nor images by their names: 1 .txt" in out
    assert "train: " in out


def test_frames_are_never_squashed_unasked(tmp_path: Path) -> None:
    """A black frame with a white square in its middle keeps a square, unless it is stretched."""
    frame = np.zeros((40, 80), np.uint8)
    frame[10:30, 30:50] = 255
    for clip in "abc":
        (tmp_path / "in" / clip).mkdir(parents=True)
        for t in range(3):
            Image.fromarray(frame).save(tmp_path / "in" / clip / f"{t}.png")
    lists = {"val": ["b"], "test": ["c"], "length": 3, "observed": 1}

    def white(**settings: Any) -> tuple[int, int]:
        clips = make_dataset(ImagesData(f"images:{tmp_path}/in", **lists, **settings), "train", tmp_path)
        bright = clips[0][0, 0] > 0.5
        return int(bright.any(1).sum()), int(bright.any(0).sum())

    assert white(size=40) == (20, 20)
    assert white(size=[20, 40]) == (10, 10)
    assert white(size=20) == (10, 10)
    assert white(size=40, resize="stretch") == (20, 10)


def test_videos_take_every_so_many_frames(tmp_path: Path) -> None:
    for i in range(3):
        write_video(tmp_path / "films" / f"{i}.avi", 20 + i)
    clips = Videos(
        tmp_path / "films", "test", root=tmp_path, size=8, length=4, stride=3, splits=Splits(["1.avi"], ["2.avi"])
    )
    assert [round((float(frame.mean()) * 255 - 24) / 8) % 24 for frame in clips.clips([0])[0]] in (
        [0, 3, 6, 9],
        [10, 13, 16, 19],
    )
    assert "every 3 frames" in clips.describe()


@pytest.mark.parametrize(
    ("val", "test", "words"),
    [
        (["x*"], ["a"], r"data.val: no clip is called 'x\*'"),
        (["a"], ["a", "b"], "a is both in data.val and in data.test"),
        (["5:9"], ["a"], "holds none of the clips 0 to 2"),
        (["a"], ["1:"], "no clips are left for train"),
    ],
)
def test_splits_that_do_not_fit_are_refused(val: Sequence[str], test: Sequence[str], words: str) -> None:
    with pytest.raises(ZooError, match=words):
        split_clips({"a": "", "b": "", "c": ""}, Splits(val, test))


@pytest.mark.parametrize(
    ("entry", "matched"),
    [
        ("clip[1].mp4", ["clip[1].mp4"]),
        ("clip[1]*", ["clip[1].mp4"]),
        ("clip?.mp4", ["clip1.mp4", "clip2.mp4"]),
        ("clip[12].mp4", ["clip1.mp4", "clip2.mp4"]),
        ("0:2", ["0:2"]),
        ("0:3", ["0:2", "clip1.mp4", "clip2.mp4"]),
    ],
)
def test_a_name_is_first_of_all_itself(entry: str, matched: list[str]) -> None:
    names = dict.fromkeys(["0:2", "clip1.mp4", "clip2.mp4", "clip[1].mp4", "test", "train"], "")
    assert split_clips(names, Splits([entry], ["test"]))["val"] == matched


def test_ranges_that_are_none_are_refused() -> None:
    with pytest.raises(ZooError, match="'walk' is not a range of clips"):
        split_range(9, Splits(["walk"], ["8:"]), "clips")


# ---- training on them -----------------------------------------------------------------------------------------------


def test_a_model_trains_on_an_array_with_normalised_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / "a.npy", numbered(12, 4, 2, 8, 16))
    shared = [f"arrays:{path}", "--data-root", tmp_path]
    assert run_command("data", *shared, "--data.channels", "2", "--data.length", "4") == 0
    out = capsys.readouterr().out
    assert "uint8, N 12, T 4, C 2, H 8, W 16" in out
    assert "mean [0.49" in out
    words = f"{TINY} --options.channels=2 --data.channels=2 --data.mean=[0.5,0.5] --data.std=[0.3,0.3]"
    assert run_command("train", "conv-lstm", *shared, *words.split(), "-o", tmp_path / "run") == 0
    line = f"evaluate {tmp_path}/run --horizon 2 --data-root {tmp_path}"
    assert run_command(*line.split()) == 0
    assert "copy last frame" in capsys.readouterr().out
    line = f"predict {tmp_path}/run --horizon 2 --data-root {tmp_path} -o {tmp_path}/x.png"
    assert run_command(*line.split()) == 0  # of two channels
    save(tmp_path / "own.npy", numbered(3, 2, 8, 16))  # one clip, without the axis N, of two channels too
    line = f"predict {tmp_path}/run --horizon 2 --data-root {tmp_path} --observed 3 -o {tmp_path}/x.npz --video"
    assert run_command(*line.split(), tmp_path / "own.npy") == 0
    with np.load(tmp_path / "x.npz") as file:
        np.testing.assert_allclose(file["observed"] * 255, numbered(3, 2, 8, 16), atol=1e-4)
        assert (len(file["truth"]), file["predictions"].shape) == (0, (2, 2, 2, 8, 16))
    capsys.readouterr()
    save(tmp_path / "other.npy", numbered(3, 1, 8, 16))
    assert run_command(*line.split(), tmp_path / "other.npy") == 2
    assert "other.npy has 1 channel (axes TCHW), but data.channels = 2" in capsys.readouterr().err


def test_normalisation_is_undone_before_anyone_sees_the_frames(tmp_path: Path) -> None:
    from zoo.model_files.building import build_model

    recipe = zoo.recipe("conv-lstm", "demo", {"hidden": [2], "layers": [1], "sigmoid": False}, dataset="python")
    plain, normal = (
        build_model(Recipe(recipe.model, recipe.options, data))
        for data in (PythonData(), PythonData(mean=[0.25], std=[0.5]))
    )
    assert plain.state_dict().keys() == normal.state_dict().keys()
    x, truth = torch.rand(1, 3, 1, 8, 8), torch.rand(1, 2, 1, 8, 8)
    expected = plain((x - 0.25) / 0.5, 2, (truth - 0.25) / 0.5) * 0.5 + 0.25
    torch.testing.assert_close(normal(x, 2, truth=truth), expected)


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_predictions_of_normalised_frames_reach_black_and_white(name: str) -> None:
    """A sigmoid whose output was multiplied by the standard deviation reached only the values from 0.45 to 0.67."""
    sigmoid = "sigmoid" in find_model(name).options
    model = build(name, **({"sigmoid": True} if sigmoid else {})).eval()
    normalize(model, [0.45], [0.22])
    x = torch.zeros(1, 4, 1, 16, 16)
    x[..., 8:] = 1
    for parameter in model.parameters():
        parameter.data *= 30
    biases = [model.output.bias.data] if sigmoid else []  # type: ignore[union-attr]
    both = []
    with torch.no_grad():
        for value in (-1e3, 1e3):
            for bias in biases:
                bias.fill_(value)
            both.append(model(x, 3)[:, -3:])
    low, high = torch.cat(both).aminmax()
    assert low <= 0.01
    assert high >= 0.99
    if sigmoid or name in ("cdna", "conv-lstm-2015", "dfn", "fc-lstm", "vpn-baseline"):  # these are bounded
        assert low >= -1e-5
        assert high <= 1 + 1e-5


def test_a_network_reads_its_own_predictions_in_the_units_of_the_observed_frames() -> None:
    plain, normal = (build("conv-lstm", sigmoid=True, channels=2, patch=2).eval() for _ in range(2))
    mean, std = torch.tensor([0.2, 0.6])[:, None, None], torch.tensor([0.1, 0.5])[:, None, None]
    normalize(normal, [0.2, 0.6], [0.1, 0.5])
    frames = list(torch.rand(2, 1, 2, 8, 8))
    x = torch.stack(frames, 1)
    with torch.no_grad():
        for _ in range(2):  # each prediction again, by a network without a normalisation
            frames.append(plain((torch.stack(frames, 1) - mean) / std, 1)[:, -1])
        torch.testing.assert_close(normal(x, 2)[:, -2:], torch.stack(frames[-2:], 1))


USER = """
import numpy as np

class Waves:
    length = 4

    def __init__(self, count, phase=0.0):
        self.count, self.phase = count, phase

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        t, y, x = np.ogrid[:4, :8, :12]
        return (0.5 + 0.5 * np.sin(t + x / 3 + index + self.phase + 0 * y))[:, None].astype(np.float32)

    def digest(self):
        return f"waves {self.count} {self.phase}"
"""


def test_a_data_set_of_a_users_file(tmp_path: Path) -> None:
    user: dict[str, Any] = {}
    exec(USER, user)
    waves = user["Waves"]
    recipe = zoo.recipe(
        "conv-lstm",
        "demo",
        {"hidden": [2], "layers": [1]},
        dataset="python",
        data={"size": [8, 12], "length": 4, "observed": 2},
        training={"steps": 2, "batch_size": 2, "validation_clips": 2, "accelerator": "cpu"},
    )
    run = zoo.fit(recipe, tmp_path / "run", train_clips=waves(6), val_clips=waves(3, 1.0), progress=False)
    assert run.recipe.data.clips_per_epoch == 6
    assert zoo.evaluate(run.model, waves(3, 2.0), horizon=2, observed=2, metrics=["mse"]).clips == 3
    more = zoo.recipe("conv-lstm", "demo", dataset="python").training
    assert more.steps != 2
    with pytest.raises(ZooError, match="the train clips differ from those"):
        zoo.fit(recipe, tmp_path / "run", train_clips=waves(6, 0.5), val_clips=waves(3, 1.0), progress=False)
    with pytest.raises(ZooError, match="pass both"):
        zoo.fit(recipe, tmp_path / "other", progress=False)
    wrong = zoo.recipe("conv-lstm", "demo", dataset="python", data={"length": 4, "observed": 2})
    with pytest.raises(ZooError, match=r"have shape \(4, 1, 8, 12\)"):
        zoo.fit(wrong, tmp_path / "other", train_clips=waves(6), val_clips=waves(3), progress=False)
    assert not (tmp_path / "other").exists()
    assert run_command("evaluate", tmp_path / "run") == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"digest": None}, "has no digest"),
        ({"__len__": lambda self: 0}, "holds no clips"),
        ({"__getitem__": lambda self, index: np.zeros((4, 8, 8), np.float32)}, r"float32 of shape \(4, 8, 8\)"),
        ({"__getitem__": lambda self, index: np.full((4, 1, 8, 8), 200.0)}, "map them to"),
        ({"__getitem__": lambda self, index: np.full((4, 1, 8, 8), np.nan)}, "pixels from nan"),
    ],
)
def test_data_sets_that_lack_something_are_refused(change: dict[str, Any], words: str) -> None:
    user: dict[str, Any] = {}
    exec(USER, user)
    waves = type("Waves", (user["Waves"],), change)
    if "digest" in change:
        waves = type("Waves", (), {name: value for name, value in vars(user["Waves"]).items() if name != "digest"})
    with pytest.raises(ZooError, match=words):
        adapted(waves(3)).clips([0])


@pytest.mark.parametrize(
    "words",
    [
        "--data.size [4]",
        "--data.size 0",
        "--data.stride 0",
        "--data.mean [1,2]",
        "--data.std [0]",
        "--data.val [a]",
        "--data.resize cut",
        "--data.channels 2",
    ],
)
def test_settings_outside_their_range_are_refused(
    words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["data"], ["train", "conv-lstm"]):
        assert run_command(*command, f"videos:{tmp_path}", *words.split()) == 2
        assert words.split()[0][2:] in capsys.readouterr().err
