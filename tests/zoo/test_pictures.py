"""Strips, GIFs and videos of predictions, and reading videos back."""

import struct
import wave

import numpy as np
import pytest
import torch
from PIL import Image

from zoo.data import Images, Splits
from zoo.errors import ZooError
from zoo.evaluation import Blank, CopyLast, Prediction, predict, read_video
from zoo.evaluation.pictures import _paste


def clip(length, channels=1, size=(16, 16)):
    """Frame t is wholly grey, and brighter than the frame before."""
    levels = torch.linspace(0.2, 0.8, length)[:, None, None, None]
    return levels.expand(-1, channels, *size).clone()


def prediction(observed=4, horizon=6, truth=6, channels=1, size=(16, 16), names=("model",)):
    frames = clip(observed + max(horizon, truth), channels, size)
    ahead = frames[observed : observed + horizon]
    return Prediction(frames[:observed], dict.fromkeys(names, 0.4 * ahead), frames[observed : observed + truth])


def levels(picture):
    """Bands of flat colour in a picture, from the top left, row by row: the level of each pasted frame."""
    pixels = np.asarray(picture.convert("L")).astype(int)
    bands = []
    side = 96 - 2
    for y in range(0, pixels.shape[0] - side):
        x = 0
        while x < pixels.shape[1] - side:
            window = pixels[y : y + side, x : x + side]
            if pixels[y, x] < 250 and (window == pixels[y, x]).all() and (y == 0 or pixels[y - 1, x] != pixels[y, x]):
                bands.append((y, pixels[y, x]))
                x += side
            x += 1
    return [[level for y, level in bands if y == row] for row in sorted({y for y, _ in bands})]


def byte(frames):
    return [round(255 * value) for value in frames.double().mean((1, 2, 3)).tolist()]


def test_the_strip_has_rows_of_input_truth_predictions_and_their_differences():
    """A difference is the darker, the larger it is; a prediction outside [0, 1] counts as it is shown."""
    shown = prediction(names=("one", "two"))
    shown.predictions["two"] = -shown.truth
    assert levels(shown.strip()) == [
        byte(shown.observed),
        byte(shown.truth),
        byte(shown.predictions["one"]),
        byte(1 - 0.6 * shown.truth),
        byte(0 * shown.truth),
        byte(1 - shown.truth),
    ]


def test_a_line_separates_what_was_observed():
    picture = np.asarray(prediction().strip().convert("L"))
    assert sum(bool((row[-60:-14] == 110).all()) for row in picture) == 2  # rows of pixels


def test_a_long_strip_shows_every_third_frame():
    shown = prediction(observed=10, horizon=30, truth=30)
    rows = levels(shown.strip())
    assert rows == levels(shown.strip(every=3))
    assert rows[0] == byte(shown.observed)[::3]  # 1, 4, 7, 10
    assert rows[1] == byte(shown.truth)[::3]  # 11, 14, …, 38
    assert rows[2] == byte(shown.predictions["model"])[::3]
    assert levels(prediction(observed=5).strip(every=3))[0] == byte(clip(11)[[1, 4]])  # ends with the last one seen
    with pytest.raises(ZooError, match="every = 0 must be at least 1"):
        shown.strip(every=0)


@pytest.mark.parametrize("truth", [0, 2])
def test_a_strip_shows_as_much_of_the_truth_as_is_known(truth):
    rows = levels(prediction(truth=truth).strip())
    assert [len(row) for row in rows] == ([4, 6] if truth == 0 else [4, 2, 6, 2])


def test_frames_are_pasted_pixel_for_pixel_and_clamped():
    page = Image.new("RGB", (20, 20), (255, 255, 255))
    frame = torch.tensor([[[-0.5, 0.5], [1.0, 1.5]]])
    _paste(page, frame, (4, 6), 3)
    pixels = np.asarray(page)[6:12, 4:10]
    expected = np.kron([[0, 128], [255, 255]], np.ones((3, 3)))
    np.testing.assert_array_equal(pixels, np.stack([expected] * 3, -1))


def test_colours_are_kept():
    frames = torch.zeros(2, 3, 16, 16)
    frames[:, 0] = 1
    shown = Prediction(frames, {"model": frames}, frames)
    colours = set(map(tuple, np.asarray(shown.strip()).reshape(-1, 3)))
    assert (255, 0, 0) in colours


def test_the_animation_shows_inputs_then_truth_beside_predictions():
    shown = prediction()
    pages = shown.animation()
    assert len(pages) == 10
    assert len({page.size for page in pages}) == 1
    assert all(side % 2 == 0 for side in pages[0].size)
    for t, page in enumerate(pages):
        both = [shown.observed[t]] * 2 if t < 4 else [shown.truth[t - 4], shown.predictions["model"][t - 4]]
        assert levels(page) == [byte(torch.stack(both))]


@pytest.mark.parametrize("size", [(16, 16), (97, 101), (120, 160)])
def test_videos_are_read_back(size, tmp_path):
    shown = prediction(size=size)
    for suffix, tolerance in ((".gif", 2 / 255), (".mp4", 6 / 255)):
        path = tmp_path / f"out{suffix}"
        shown.save(path)
        frames = read_video(path, grey=False)
        pages = torch.stack([torch.from_numpy(np.array(p)).permute(2, 0, 1) / 255 for p in shown.animation()])
        assert frames.shape == pages.shape
        assert (frames - pages).abs().mean() < tolerance
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.gif", "out.mp4"]


def test_a_saved_png_is_the_strip(tmp_path):
    shown = prediction()
    shown.save(tmp_path / "out.PNG")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.PNG")), np.asarray(shown.strip()))


@pytest.mark.parametrize(("name", "fps"), [("out.avi", 8), ("out.gif", 0)])
def test_what_cannot_be_saved_is_refused(name, fps, tmp_path):
    with pytest.raises(ZooError, match=r"legal are \.png, \.gif, \.mp4" if fps else "fps = 0 must be at least 1"):
        prediction().save(tmp_path / name, fps=fps)
    with pytest.raises(ZooError, match="cannot write"):
        prediction().save(tmp_path / "nowhere" / "out.gif")
    assert not list(tmp_path.iterdir())


def test_numbers_are_saved_as_they_are(tmp_path):
    shown = prediction(channels=2, truth=3, names=("one", "two:three"))
    shown.save(tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as file:
        assert file["models"].tolist() == ["one", "two:three"]
        np.testing.assert_array_equal(file["predictions"][1], shown.predictions["two:three"])
        assert [file[name].shape for name in ("observed", "truth")] == [(4, 2, 16, 16), (3, 2, 16, 16)]


@pytest.mark.parametrize("truth", [0, 6])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_of_frames_is_a_data_set(channels, truth, tmp_path):
    shown = prediction(channels=channels, truth=truth, size=(12, 20), names=("run/x:y",))
    shown.save(tmp_path / "out")
    folders = ["observed", "predictions/run-x-y", *(["truth"] if truth else [])]
    names = {folder: sorted(file.name for file in (tmp_path / "out" / folder).iterdir()) for folder in folders}
    assert names["predictions/run-x-y"] == [f"{number:04d}.png" for number in range(5, 11)]
    assert sorted(str(file.parent.relative_to(tmp_path / "out")) for file in tmp_path.rglob("*.png")) == sorted(
        folder for folder in folders for _ in names[folder]
    )
    if truth:  # three clips are enough for three splits
        splits = Splits(["truth"], ["predictions*"])
        clips = Images(tmp_path / "out", root=tmp_path, length=4, grey=channels == 1, size=(12, 20), splits=splits)
        torch.testing.assert_close(clips.clips([0])[0], shown.observed, rtol=0, atol=1 / 509)


def test_folders_that_cannot_be_written_are_refused(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(ZooError, match="exists already"):
        prediction().save(tmp_path / "out")
    with pytest.raises(ZooError, match=r"write an \.npz file"):
        prediction(channels=2).save(tmp_path / "new")
    with pytest.raises(ZooError, match="two models would write to predictions/a-b"):
        prediction(names=("a:b", "a/b")).save(tmp_path / "new")
    with pytest.raises(ZooError, match="cannot write"):
        prediction().save(tmp_path / "nowhere" / "new")
    assert [path.name for path in tmp_path.rglob("*")] == ["out"]


def test_nothing_half_written_is_left(tmp_path, monkeypatch):
    (tmp_path / "out.gif").write_bytes(b"the old one")

    def full(self, path, **options):
        path.write_bytes(b"GIF89a")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(ZooError, match=r"cannot write .*No space left on device"):
        prediction().save(tmp_path / "out.gif")
    with pytest.raises(ZooError, match=r"cannot write .*No space left on device"):
        prediction().save(tmp_path / "frames")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("out.gif", b"the old one")]


# predict


def test_predict_shows_the_first_frames_and_keeps_the_rest_as_truth():
    frames = clip(12)
    models = {"copy": CopyLast().train(), "blank": Blank().train()}
    shown = predict(models, frames, horizon=5, observed=4)
    assert torch.equal(shown.observed, frames[:4])
    assert torch.equal(shown.truth, frames[4:9])
    assert torch.equal(shown.predictions["copy"], frames[3:4].expand(5, -1, -1, -1))
    assert not shown.predictions["blank"].any()
    assert models["copy"].training
    assert len(predict(models, frames, horizon=30, observed=10).truth) == 2


def test_what_cannot_be_predicted_is_refused():
    with pytest.raises(ZooError, match=r"shape \(4, 1, 16, 16\) does not have 5 frames to observe"):
        predict({"copy": CopyLast()}, clip(4), observed=5)
    with pytest.raises(ZooError, match="observed = 0 must be at least 1"):
        predict({"copy": CopyLast()}, clip(4), observed=0)
    with pytest.raises(ZooError, match="horizon = 0 must be at least 1"):
        predict({"copy": CopyLast()}, clip(4), horizon=0, observed=2)
    with pytest.raises(ZooError, match="no models"):
        predict({}, clip(4))
    with pytest.raises(ZooError, match=r"models is a CopyLast; pass models by their names, as in \{'mine': model\}"):
        predict(CopyLast(), clip(4))
    with pytest.raises(ZooError, match="clip is of type list, but must be a tensor"):
        predict({"copy": CopyLast()}, [1, 2])
    narrow = CopyLast()
    narrow.forward = lambda x, horizon: x[:, -1:, :, :1].repeat(1, horizon, 1, 1, 1)
    with pytest.raises(ZooError, match=r"the model predicts frames of shape \(1, 2, 1, 1, 16\)"):
        predict({"narrow": narrow}, clip(4), horizon=2, observed=2)


# Reading


def write_video(path, frames, codec="mpeg4", pix_fmt="yuv420p", **options):
    """Frames `(T, H, W, 3)` of bytes."""
    import av

    with av.open(str(path), "w", **options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        container.start_encoding()  # so that a file without frames is a file
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def test_videos_are_read_as_luma_of_a_size_and_count(tmp_path):
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0]], dtype=np.uint8)
    write_video(tmp_path / "in.avi", np.broadcast_to(colours[:, None, None], (5, 48, 64, 3)).copy())
    frames = read_video(tmp_path / "in.avi", size=(12, 20))
    assert frames.shape == (5, 1, 12, 20)
    assert frames.dtype == torch.float32
    np.testing.assert_allclose(frames.mean((1, 2, 3)), [0.299, 0.587, 0.114, 1, 0], atol=0.02)
    assert read_video(tmp_path / "in.avi", size=16, count=3, grey=False).shape == (3, 3, 16, 16)
    red = read_video(tmp_path / "in.avi", grey=False)[0].mean((1, 2))
    np.testing.assert_allclose(red, [1, 0, 0], atol=0.02)


def test_frames_are_cropped_if_that_is_asked_for(tmp_path):
    wide = np.zeros((2, 8, 16), np.uint8)
    wide[:, :, 4:12] = 200
    np.save(tmp_path / "x.npy", wide)
    assert bool((read_video(tmp_path / "x.npy", 8, resize="crop") == 200 / 255).all())
    assert not bool((read_video(tmp_path / "x.npy", 8) == 200 / 255).all())


def test_resizing_is_antialiased(tmp_path):
    stripes = np.full((1, 32, 64), 255, dtype=np.uint8)
    stripes[:, :, 1::4] = stripes[:, :, 2::4] = 0  # where plain interpolation would look
    np.save(tmp_path / "stripes.npy", stripes)
    small = read_video(tmp_path / "stripes.npy", size=(8, 16))
    np.testing.assert_allclose(small[..., 2:-2], 0.5, atol=0.05)


@pytest.mark.parametrize("shape", [(6, 8, 10), (6, 8, 10, 1), (6, 1, 8, 10), (6, 3, 8, 10), (6, 8, 10, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_arrays_of_every_layout_are_read(shape, dtype, tmp_path):
    array = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    np.save(tmp_path / "in.npy", array if dtype == np.uint8 else (array / 255).astype(dtype))
    frames = read_video(tmp_path / "in.npy", grey=False)
    assert frames.shape == (6, 3, 8, 10)
    last = array.reshape(6, 8, 10, 1) if 3 not in shape else array if shape[-1] == 3 else np.moveaxis(array, 1, -1)
    expected = np.broadcast_to(np.moveaxis(last, -1, 1) / 255, (6, 3, 8, 10))
    np.testing.assert_allclose(frames, expected, atol=1e-6)
    assert read_video(tmp_path / "in.npy").shape == (6, 1, 8, 10)


def test_a_clip_of_kth_is_read(data_root):
    ranges = {
        line.split()[0]: line for line in (data_root / "kth" / "00sequences.txt").read_text().splitlines() if line
    }
    path = min((data_root / "kth").glob("*.avi"), key=lambda path: path.stat().st_size)
    last = int(ranges[path.name.removesuffix("_uncomp.avi")].replace("-", " ").split()[-1])
    frames = read_video(path, size=32)
    assert frames.shape == (last, 1, 32, 32)
    assert 0.1 < frames.mean() < 0.9


def make_bad(tmp_path, kind):
    path = tmp_path / ("in.npy" if "array" in kind else "in.mp4")
    if kind == "folder":
        path.mkdir()
    if kind == "empty":
        path.touch()
    if kind == "text":
        path.write_text("no video\n" * 100)
    if kind == "cut":
        prediction().save(path)
        path.write_bytes(path.read_bytes()[:300])
    if kind == "no frames":
        write_video(path, np.zeros((0, 32, 32, 3), dtype=np.uint8), format="avi")
    if kind == "sound":
        with wave.open(str(path), "wb") as sound:
            sound.setparams((1, 2, 8000, 0, "NONE", ""))
            sound.writeframes(struct.pack("<800h", *range(800)))
    arrays = {
        "array of integers": np.zeros((2, 3, 4), dtype=int),
        "array of channels": np.zeros((2, 4, 5, 6), dtype=np.uint8),
        "array of one axis": np.zeros(5, dtype=np.uint8),
        "array of objects": np.array([{}], dtype=object),
        "array out of range": np.full((2, 4, 4), 200.0),
        "array of nan": np.full((2, 4, 4), np.nan),
        "array without frames": np.zeros((0, 4, 4), dtype=np.uint8),
    }
    if kind in arrays:
        np.save(path, arrays[kind], allow_pickle=True)
    if kind == "array of text":
        path.write_text("no array")
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "is not a file"),
        ("folder", "is not a file"),
        ("empty", "cannot be read as a video"),
        ("text", "cannot be read as a video"),
        ("cut", "is cut short: its parts take"),
        ("no frames", "has no frames"),
        ("sound", "has no video stream, so no frames"),
        ("array of integers", "it must hold uint8 or float frames"),
        ("array of channels", "with 1 or 3 channels"),
        ("array of one axis", r"\(T, H, W\)"),
        ("array of objects", "cannot be read as an array"),
        ("array out of range", r"floats outside \[0, 1\]"),
        ("array of nan", r"floats outside \[0, 1\]"),
        ("array without frames", "has no frames"),
        ("array of text", "cannot be read as an array"),
    ],
)
def test_what_cannot_be_read_is_refused(kind, message, tmp_path):
    path = make_bad(tmp_path, kind)
    with pytest.raises(ZooError, match=message) as caught:
        read_video(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{"count": 0}, {"size": 0}, {"size": (4, -1)}])
def test_bad_options_are_refused(options, tmp_path):
    np.save(tmp_path / "in.npy", np.zeros((2, 4, 4), dtype=np.uint8))
    with pytest.raises(ZooError, match="must be at least 1"):
        read_video(tmp_path / "in.npy", **options)
