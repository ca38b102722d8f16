"""Moving-MNIST: the trajectory rule frame by frame, statistics, purity of clips, bad input."""

import math
import re
import time
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.utils.data import DataLoader

from zoo.counter_rng import uniforms
from zoo.data import MovingMNIST, make_dataset, moving_mnist
from zoo.data.digits import load_digits
from zoo.errors import ZooError
from zoo.settings import MovingMNISTData

STREAMS = {"train": 0x4D4D0001, "val": 0x4D4D0002, "test": 0x4D4D0003}


def embedded(split="test", **options):
    return MovingMNIST(split, source="embedded", **options)


def clip_frame_by_frame(split, index, digits, height, width, length, seed):
    """The rule in scalars: (T, H, W) uint8."""
    images = load_digits(split, source="embedded").images.numpy()
    frames = np.zeros((length, height, width), np.uint8)
    draws = uniforms(seed, STREAMS[split], index, 4 * digits)
    for n in range(digits):
        which, row, column, turn = (float(draw) for draw in draws[4 * n : 4 * n + 4])
        image = images[int(which * len(images))]
        row_speed, column_speed = 0.1 * math.sin(2 * math.pi * turn), 0.1 * math.cos(2 * math.pi * turn)
        for t in range(length):
            if t > 0:
                row, column = row + row_speed, column + column_speed
                if row <= 0:
                    row, row_speed = 0.0, -row_speed
                elif row >= 1:
                    row, row_speed = 1.0, -row_speed
                if column <= 0:
                    column, column_speed = 0.0, -column_speed
                elif column >= 1:
                    column, column_speed = 1.0, -column_speed
            top, left = int(row * (height - 28)), int(column * (width - 28))
            place = frames[t, top : top + 28, left : left + 28]
            np.maximum(place, image, out=place)
    return frames


@pytest.mark.parametrize(
    ("split", "digits", "size", "length", "seed"),
    [
        ("train", 2, 64, 20, 0),
        ("val", 3, 64, 40, 0),
        ("test", 1, (40, 57), 30, 5),
        ("test", 2, (57, 28), 12, 2**64 - 1),
        ("test", 4, 28, 1, 1),
    ],
)
def test_clips_follow_the_rule_exactly(split, digits, size, length, seed):
    dataset = embedded(split, digits=digits, size=size, length=length, seed=seed)
    height, width = dataset.size
    indices = [0, 1, 2, 77, len(dataset) - 1]
    clips = dataset.clips(indices)
    assert clips.shape == (5, length, 1, height, width)
    assert clips.dtype == torch.float32
    expected = np.stack(
        [clip_frame_by_frame(split, index, digits, height, width, length, seed) for index in indices]
    ).astype(np.float32)
    assert np.array_equal(clips[:, :, 0].numpy(), expected / 255)


def test_clips_are_float32_whatever_the_default():
    torch.set_default_dtype(torch.float64)
    try:
        assert embedded()[0].dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


CORNERS = [
    [[[31, 12], [31, 2]], [[32, 8], [31, 0]], [[31, 21], [35, 10]]],
    [[[1, 8], [35, 18]], [[5, 6], [36, 21]], [[9, 18], [9, 6]]],
]
BRIGHTNESS = [[63185, 58087], [63490, 54500]]


def test_clips_never_change():
    """Tables and trained weights refer to these clips: a change of the draws must not pass unseen."""
    batch = embedded("test").fetch([0, 4_999])
    assert batch.corners[:, [0, 1, 19]].tolist() == CORNERS
    assert batch.images.sum((-2, -1)).tolist() == BRIGHTNESS


@pytest.fixture(scope="module")
def tracks():
    """Positions in units of the free side, of 10,000 clips on a canvas so large that truncation is nothing."""
    side = 10**9
    dataset = embedded("train", size=28 + side, length=2)
    return dataset.fetch(range(10_000)).corners.numpy() / side


def test_starts_are_uniform_in_the_free_square(tracks):
    start = tracks[:, 0].reshape(-1, 4)  # (row, column) of both digits
    for axis in start.T:
        assert stats.kstest(axis, "uniform").pvalue > 1e-3
    assert np.abs(np.corrcoef(start.T) - np.eye(4)).max() < 0.04


def test_directions_are_uniform_and_the_speed_a_tenth_of_the_free_side(tracks):
    start, after = tracks[:, 0].reshape(-1, 2), tracks[:, 1].reshape(-1, 2)
    inside = ((start > 0.1) & (start < 0.9)).all(-1)
    step = (after - start)[inside]
    assert np.allclose(np.hypot(*step.T), 0.1, atol=1e-8)
    turn = np.arctan2(*step.T) / (2 * np.pi) % 1
    assert stats.kstest(turn, "uniform").pvalue > 1e-3
    assert np.abs(np.corrcoef(turn, start[inside][:, 0])[0, 1]) < 0.04


def test_digits_are_drawn_uniformly_and_only_from_the_split():
    images = load_digits("test", source="embedded").images
    number = {image.numpy().tobytes(): n for n, image in enumerate(images)}
    drawn = embedded("test", length=1).fetch(range(5_000)).images.flatten(0, 1)
    counts = np.bincount([number[image.numpy().tobytes()] for image in drawn], minlength=len(images))
    assert stats.chisquare(counts).pvalue > 1e-3


def test_splits_have_their_default_sizes():
    assert [len(embedded(split)) for split in ("train", "val", "test")] == [10_000, 3_000, 5_000]


def test_splits_and_seeds_draw_apart():
    batches = [embedded(split, seed=seed).fetch(range(20)) for split in STREAMS for seed in (0, 1, 2**32)]
    assert len({batch.corners.numpy().tobytes() for batch in batches}) == 9


@given(st.lists(st.integers(0, 4_999), min_size=1, max_size=8), st.data())
def test_a_clip_depends_on_nothing_but_its_index(indices, data):
    dataset = TEST
    cut = data.draw(st.integers(0, len(indices)))
    whole = dataset.fetch(indices)
    parts = [dataset.fetch(part) for part in (indices[:cut], indices[cut:]) if part]
    for together, *apart in zip(whole, *parts, strict=True):
        assert torch.equal(together, torch.cat(apart))
    assert torch.equal(dataset.render(whole)[-1], dataset[indices[-1]])


TEST = embedded("test", length=3)


def test_a_longer_clip_or_more_digits_begins_the_same():
    short, long = embedded(length=10).clips([5]), embedded(length=40).clips([5])
    assert torch.equal(short, long[:, :10])
    two, three = embedded(digits=2).fetch([5]), embedded(digits=3).fetch([5])
    assert torch.equal(two.corners, three.corners[:, :, :2])
    assert torch.equal(two.images, three.images[:, :2])


def test_global_generators_are_neither_read_nor_moved():
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = embedded()[7]
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    torch.manual_seed(2)
    np.random.seed(2)
    assert torch.equal(first, embedded()[7])


def test_endless_clips_continue_where_the_split_ends():
    plain, endless = embedded("train"), embedded("train", endless=True)
    assert len(endless) == 10_000
    assert torch.equal(plain[9_999], endless[9_999])
    beyond = endless.fetch([10_000, 2**40, 2**63 - 1]).corners
    assert len({clip.numpy().tobytes() for clip in beyond}) == 3
    assert "endless" in endless.describe()


def test_a_count_limits_the_clips():
    dataset = embedded(count=3)
    assert len(list(islice(dataset, 9))) == len(dataset) == 3
    assert torch.equal(dataset[2], embedded()[2])


def test_rendering_reads_no_value_on_the_host():
    batch = TEST.fetch([0, 1])
    frames = TEST.render(type(batch)(*(part.to("meta") for part in batch)))
    assert frames.shape == (2, 3, 1, 64, 64)
    assert frames.device.type == TEST.clips([0], "meta").device.type == "meta"


def test_a_batch_takes_milliseconds():
    dataset, times = embedded("train"), []
    for first in range(0, 160, 16):
        begin = time.perf_counter()
        dataset.clips(range(first, first + 16))
        times.append(time.perf_counter() - begin)
    assert min(times) < 0.03  # about 0.004 s on one core


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_loader_yields_batches_of_clips(workers):
    dataset = embedded(count=5, length=2)
    batches = list(DataLoader(dataset, batch_size=2, num_workers=workers))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert torch.equal(torch.cat(batches), dataset.clips(range(5)))


def test_description_names_the_digits(data_root):
    assert "300 embedded scikit-learn test digits" in embedded().describe()
    described = MovingMNIST("val", root=data_root, digits=3, size=(48, 64)).describe()
    assert "val: 3,000 clips of 20 frames 48×64, 3 moving digits" in described
    assert f"10,000 MNIST val digits from {data_root / 'mnist'}" in described


def test_real_digits_move(data_root):
    dataset = MovingMNIST("test", root=data_root, length=4)
    clips = dataset.clips(range(8))
    assert clips.min() == 0
    assert clips.max() == 1
    assert (clips[:, 1:] != clips[:, :-1]).flatten(2).any(-1).all()


def test_the_digest_is_of_the_digits_and_of_the_rule(monkeypatch):
    assert re.fullmatch("[0-9a-f]{64}", embedded().digest())
    assert embedded().digest() == embedded(seed=4, size=30, endless=True).digest()  # settings do not count
    assert len({embedded(split).digest() for split in STREAMS}) == 3
    changed, before = embedded(), embedded().digest()
    changed._images = 255 - changed._images
    assert changed.digest() != before
    monkeypatch.setattr(moving_mnist, "_RULE", 2)
    assert embedded().digest() != before


def test_make_dataset_follows_the_recipe(data_root):
    data = MovingMNISTData(digits=3, size=48, length=12, clips_per_epoch=70, endless=True, source="mnist")
    train, val = (make_dataset(data, split, data_root) for split in ("train", "val"))
    assert train.clips([10**6]).shape == (1, 12, 1, 48, 48)
    assert (len(train), len(val)) == (70, 3_000)
    assert "3 moving digits" in val.describe()
    with pytest.raises(ZooError):
        val.fetch([3_000])
    longer = make_dataset(data, "test", data_root, length=40)
    assert longer.length == len(longer[0]) == 40


def test_make_dataset_uses_the_source_and_the_root(tmp_path, data_root):
    assert f"(no complete MNIST in {tmp_path})" in make_dataset(MovingMNISTData(), "test", tmp_path).describe()
    assert "embedded" in make_dataset(MovingMNISTData(source="embedded"), "test", data_root).describe()


def test_make_dataset_suggests_the_nearest_name():
    with pytest.raises(ZooError, match="did you mean 'moving-mnist'"):
        make_dataset(MovingMNISTData(name="moving_mnist"), "train")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "valid"}, "split = 'valid' must be one of train, val, test"),
        ({"digits": 0}, "digits = 0 must"),
        ({"digits": 1.5}, "digits = 1.5 must"),
        ({"length": 0}, "length = 0 must"),
        ({"count": 0}, "count = 0 must"),
        ({"seed": -1}, "seed = -1 must"),
        ({"seed": 2**64}, "seed = 18446744073709551616 must"),
        ({"seed": 0.5}, "seed = 0.5 must"),
        ({"size": 27}, "size = 27 .* 28 pixels"),
        ({"size": (64, 27)}, r"size = \(64, 27\)"),
        ({"size": (27, 64)}, r"size = \(27, 64\)"),
        ({"size": (64,)}, "size = "),
        ({"size": 64.0}, "size = 64.0"),
        ({"size": "64"}, "size = '64'"),
        ({"source": "minst"}, "source = 'minst' must be auto, mnist or embedded"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(ZooError, match=message) as caught:
        MovingMNIST(**{"source": "embedded"} | options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("indices", [[-1], [5_000], [0, 5_000], [2**63], [2**70], [0.5], ["0"], [True], [], [[1]], 3])
def test_bad_indices_are_refused(indices):
    with pytest.raises(ZooError, match=r"index |indices = "):
        TEST.fetch(indices)


@pytest.mark.parametrize("index", [-1, 5_000, slice(0, 2), 0.0])
def test_a_bad_index_is_refused(index):
    with pytest.raises(ZooError, match=r"index |indices = "):
        TEST[index]


def test_even_endless_clips_end_at_two_to_the_63():
    with pytest.raises(ZooError, match="index"):
        embedded("train", endless=True).fetch([2**63])


def test_any_kind_of_integer_is_an_index():
    for index in (np.int32(4), np.uint8(4), torch.tensor(4)):
        assert torch.equal(TEST[index], TEST[4])
    assert torch.equal(TEST.clips(torch.tensor([4, 5])), TEST.clips((4, 5)))
