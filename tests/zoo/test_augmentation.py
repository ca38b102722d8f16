"""Training clips that are mirrored, enlarged and sped up at random."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.runs import run_command
from zoo.commands.trained import find_trained_model
from zoo.data import Arrays, Augmentation, array_frames, make_dataset, pin_data
from zoo.data.augmentation import Crops
from zoo.errors import ZooError
from zoo.settings import ArraysData

ALL = Augmentation(flip=True, max_zoom=1.5, max_speed=3)


def stored(folder: Path, length: int) -> ArraysData:
    """An array of twenty equal clips; frame t is evenly t / 255 but for its white left column."""
    clips = np.zeros((20, length, 6, 10), np.uint8)
    clips += np.arange(length, dtype=np.uint8)[:, None, None]
    clips[..., 0] = 255
    np.save(folder / "clips.npy", clips)
    return ArraysData(name=f"arrays:{folder}/clips.npy")


def times(clip: torch.Tensor) -> list[int]:
    """The numbers of the frames of a clip, from a pixel in the middle."""
    return (clip[:, 0, 3, 5] * 255).round().int().tolist()


def train(data: ArraysData, folder: Path, augmentation: Augmentation, **options: int | bool) -> Arrays:
    return Arrays(array_frames(data, folder), length=5, augmentation=augmentation, **options)  # type: ignore[arg-type]


# ---- frames ---------------------------------------------------------------------------------------------------------


@given(
    share=st.floats(0.3, 1),
    place=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
    flipped=st.booleans(),
    size=st.tuples(st.integers(4, 9), st.integers(4, 9)),
)
def test_a_plane_stays_a_plane(share, place, flipped, size):
    """Bilinear interpolation is exact for a + b·x + c·y, except within half a pixel of the border."""
    height, width = size
    x, y = (np.arange(n) + 0.5 for n in (width, height))  # the middles of the pixels
    frame = (0.1 + 0.05 * x[None] / width + 0.7 * y[:, None] / height).astype(np.float32)
    frames = torch.from_numpy(frame)[None, None, None].repeat(1, 2, 1, 1, 1)
    centre = torch.tensor(place)[None] * (1 - share)
    crops = Crops(torch.tensor([flipped]), torch.tensor([share]), centre)
    out = Augmentation(flip=True, max_zoom=4).apply(frames, crops)
    left, top = ((1 + float(c)) / 2 - share / 2 for c in centre[0])  # of the part, as a share of the frame
    old_x, old_y = (first * n + share * middle for first, n, middle in ((left, width, x), (top, height, y)))
    old_x, old_y = (
        np.clip(old, 0.5, n - 0.5) for old, n in ((old_x, width), (old_y, height))
    )  # the border is continued
    old_x = width - old_x if flipped else old_x
    expected = 0.1 + 0.05 * old_x[None] / width + 0.7 * old_y[:, None] / height
    assert out.shape == frames.shape
    for t in range(2):
        np.testing.assert_allclose(out[0, t, 0], expected, atol=2e-6)


def test_mirrored_frames_have_the_same_bits():
    frames = torch.rand(2, 3, 2, 4, 5)
    out = Augmentation(flip=True).apply(frames, Crops(torch.tensor([True, False]), torch.ones(2), torch.zeros(2, 2)))
    assert torch.equal(out[0], frames[0].flip(-1))
    assert torch.equal(out[1], frames[1])


def test_crops_lie_within_the_frame_and_fill_their_ranges():
    crops = Augmentation(flip=True, max_zoom=2).crops(3, range(4_000))
    assert 1_900 < crops.flipped.sum() < 2_100
    zoom = 1 / crops.share
    assert (zoom.min() - 1).abs() < 0.01
    assert (zoom.max() - 2).abs() < 0.01
    assert (zoom.mean() - 1.5).abs() < 0.02
    room = 1 - crops.share
    assert (crops.centre.abs() <= room[:, None] + 1e-6).all()
    assert ((crops.centre / room[:, None]).mean(0).abs() < 0.05).all()
    assert not Augmentation(max_zoom=2).crops(3, range(100)).flipped.any()


def test_speed_mirroring_zoom_and_place_are_independent():
    augmentation = Augmentation(flip=True, max_zoom=2, max_speed=2)
    crops, speeds = augmentation.crops(3, range(4_000)), augmentation.speeds(3, range(4_000))
    place = crops.centre / (1 - crops.share)[:, None]
    draws = torch.stack([torch.from_numpy(speeds).float(), crops.flipped.float(), 1 / crops.share, *place.unbind(1)])
    others = torch.corrcoef(draws) - torch.eye(5)
    assert others.abs().max() < 0.06


def test_white_frames_stay_within_the_range():
    crops = Augmentation(max_zoom=2).crops(0, range(200))
    out = Augmentation(max_zoom=2).apply(torch.ones(200, 1, 1, 13, 11), crops)
    assert out.max() <= 1
    assert out.min() > 0.999


def test_autocast_does_not_round_positions():
    frames, crops = torch.rand(3, 2, 1, 32, 32), ALL.crops(0, range(3))
    expected = ALL.apply(frames, crops)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ALL.apply(frames, crops), expected)


# ---- speed ----------------------------------------------------------------------------------------------------------


def test_fast_clips_take_every_second_or_third_frame_and_stay_in_the_video(tmp_path):
    clips = train(stored(tmp_path, 30), tmp_path, Augmentation(max_speed=3), endless=True)
    seen: dict[int, set[int]] = {1: set(), 2: set(), 3: set()}
    for clip in clips.clips(range(2_000)):
        first, second, *_ = frames = times(clip)
        assert frames == list(range(first, 30, second - first))[:5]
        seen[second - first].add(first)
    assert seen == {speed: set(range(30 - 4 * speed)) for speed in (1, 2, 3)}  # every position that fits
    speeds = [stride for _, _, stride in clips.places(range(3_000))]
    assert all(900 < speeds.count(speed) < 1_100 for speed in (1, 2, 3))


def test_all_positions_that_fit_a_speed_are_equally_likely(tmp_path):
    clips = train(stored(tmp_path, 15), tmp_path, Augmentation(max_speed=3), endless=True)
    places = [(start, stride) for _, start, stride in clips.places(range(12_000))]
    for speed in (1, 2, 3):
        starts = [start for start, stride in places if stride == speed]
        fit = 15 - 4 * speed
        expected = len(starts) / fit
        assert all(abs(starts.count(start) - expected) < 5 * expected**0.5 for start in range(fit))


@pytest.mark.parametrize(("frames", "fastest"), [(5, 1), (8, 1), (9, 2), (10, 2), (12, 2), (13, 3)])
def test_a_short_video_is_played_as_fast_as_it_allows(frames, fastest, tmp_path):
    """5 frames span 5, 9 and 13 frames at speeds 1, 2 and 3."""
    clips = train(stored(tmp_path, frames), tmp_path, Augmentation(max_speed=3), endless=True)
    speeds = [stride for _, _, stride in clips.places(range(300))]
    assert set(speeds) == set(range(1, fastest + 1))
    assert all(times(clip)[-1] < frames for clip in clips.clips(range(300)))


def test_speeds_multiply_the_stride(tmp_path):
    clips = train(stored(tmp_path, 40), tmp_path, Augmentation(max_speed=2), stride=3)
    assert {stride for _, _, stride in clips.places(range(100))} == {3, 6}
    assert {times(clip)[1] - times(clip)[0] for clip in clips.clips(range(100))} == {3, 6}


def test_clips_of_one_frame_have_no_speed(tmp_path):
    frames = array_frames(stored(tmp_path, 4), tmp_path)
    assert len(Arrays(frames, length=1, augmentation=ALL).clips(range(9))) == 9


# ---- clips ----------------------------------------------------------------------------------------------------------


def test_a_clip_is_a_function_of_seed_and_index(tmp_path):
    data = stored(tmp_path, 30)
    clips = train(data, tmp_path, ALL, endless=True)
    together = clips.clips([7, 10_007, 3])
    assert torch.equal(clips[10_007], together[1])
    assert torch.equal(train(data, tmp_path, ALL, endless=True).clips([3])[0], together[2])
    assert not torch.equal(train(data, tmp_path, ALL, endless=True, seed=1).clips([7, 10_007, 3]), together)
    assert len({clips[i].numpy().tobytes() for i in range(20)}) == 20
    assert together.dtype == torch.float32
    assert 0 <= together.min() <= together.max() <= 1


def test_nothing_else_changes(tmp_path):
    """Without augmentation, clips have the bits that they had; windows for validation and testing are never changed."""
    data = stored(tmp_path, 30)
    plain, none = Arrays(array_frames(data, tmp_path), length=5), train(data, tmp_path, Augmentation())
    assert torch.equal(plain.clips(range(50)), none.clips(range(50)))
    assert "randomly" not in none.describe()
    for split in ("val", "test"):
        frames = array_frames(data, tmp_path)
        one, other = (Arrays(frames, split, length=5, augmentation=each) for each in (Augmentation(), ALL))
        assert torch.equal(one.clips(range(len(one))), other.clips(range(len(other))))
        assert "randomly" not in other.describe()
    augmented = train(data, tmp_path, ALL)
    assert augmented.describe().endswith(", randomly mirrored, enlarged up to 1.5×, played up to 3× as fast")
    assert augmented.digest() == plain.digest()
    assert augmented.comparable_with == plain.comparable_with


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"max_zoom": 0.5}, r"max_zoom = 0\.5 must be a number from 1 to 16; 1 changes nothing"),
        ({"max_zoom": float("nan")}, "max_zoom = nan must be a number from 1 to 16"),
        ({"max_zoom": "2"}, "max_zoom = '2' must be a number from 1 to 16"),
        ({"max_speed": 0}, "max_speed = 0 must be a whole number from 1 to 16"),
        ({"max_speed": 17}, "max_speed = 17 must be a whole number from 1 to 16"),
        ({"max_speed": 2.5}, r"max_speed = 2\.5 must be a whole number from 1 to 16"),
        ({"max_speed": True}, "max_speed = True must be a whole number from 1 to 16"),
        ({"flip": "no"}, "flip = 'no' must be True or False"),
    ],
)
def test_illegal_arguments_are_refused(wrong, says):
    with pytest.raises(ZooError, match=says):
        Augmentation(**wrong)


# ---- as a user types it ---------------------------------------------------------------------------------------------

TINY = (
    "--preset demo --options.hidden=[2] --options.layers=[1] --options.patch=2 --data.length=5 --data.observed=3"
    " --training.steps=4 --training.batch_size=2 --training.validation_clips=2 --training.accelerator=cpu"
)


def test_train_evaluate_and_resume(tmp_path, capsys):
    data = stored(tmp_path, 30)
    words = ["train", "conv-lstm", data.name, *TINY.split(), "--data-root", tmp_path]
    changes = ["--data.flip=true", "--data.max_zoom=1.5", "--data.max_speed=2"]
    for name, more in (("plain", []), ("augmented", changes)):
        assert run_command(*words, *more, "-o", tmp_path / name) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "randomly mirrored, enlarged up to 1.5×, played up to 2× as fast" in printed
    assert run_command(*words, *changes, "--training.max_time=0.0001", "-o", tmp_path / "short") == 0
    assert run_command(*words, *changes, "-o", tmp_path / "short") == 0
    weights = {
        name: torch.cat([p.detach().flatten() for p in find_trained_model(str(tmp_path / name)).model.parameters()])
        for name in ("plain", "augmented", "short")
    }
    assert torch.equal(weights["short"], weights["augmented"])
    assert not torch.equal(weights["plain"], weights["augmented"])
    assert (
        run_command("compare", tmp_path / "plain", tmp_path / "augmented", "--horizon", 2) == 0
    )  # the same test clips
    recipe = find_trained_model(str(tmp_path / "augmented")).recipe
    assert pin_data(recipe.data, tmp_path) == recipe.data
    assert not make_dataset(recipe.data, "test", tmp_path, 5).augmentation.flip  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("--data.max_zoom=0.5", "data.max_zoom = 0.5 must be a finite number, at least 1 and at most 16"),
        ("--data.max_zoom=17", "data.max_zoom = 17.0 must be a finite number, at least 1 and at most 16"),
        ("--data.max_speed=0", "data.max_speed = 0 must be a finite number, at least 1 and at most 16"),
    ],
)
def test_bad_settings_are_refused(word, says, tmp_path, capsys):
    data = stored(tmp_path, 30)
    words = ["train", "conv-lstm", data.name, *TINY.split(), word, "--data-root", tmp_path, "-o", tmp_path / "run"]
    assert run_command(*words) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("--data.max_speed=99", "data.max_speed = 99 must be a finite number, at least 1 and at most 16"),
        ("--data.length=0", "data.length = 0 must be a finite number, at least 1"),
        ("--data.clips_per_epoch=0", "data.clips_per_epoch = 0 must be a finite number, at least 1"),
    ],
)
def test_the_command_data_refuses_what_a_training_refuses(word, says, tmp_path, capsys):
    assert run_command("data", stored(tmp_path, 30).name, word, "--data-root", tmp_path) == 2
    assert says in capsys.readouterr().err


def test_digits_are_not_augmented(tmp_path, capsys):
    assert run_command("train", "conv-lstm", "moving-mnist", "--data.flip=true", "-o", tmp_path / "run") == 2
    assert "flip" in capsys.readouterr().err
