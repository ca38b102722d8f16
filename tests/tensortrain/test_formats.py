"""Formats: which ranks grouped cores tie together, by hand."""

import pytest

from tensortrain import TensorTrainError
from tensortrain.conv import formats
from tensortrain.conv.formats import Format

ONE = (1, 1)


@pytest.mark.parametrize(
    ("blocks", "ends", "bonds"),
    [
        # the second grouped core takes pairs of the four channels that each group of the first one reads
        ((None, (2, 4), (2, 1), None), (8, 6), [({1: 2, 2: 4, 3: 2}, None)]),
        # three of its groups read what two of the first one's write
        ((None, (1, 2), (3, 1), None), (8, 6), [({1: 3, 2: 6, 3: 2}, None)]),
        # fixed by the twelve channels of the end: 12 = 2·6, then groups of four
        (((2, 4), (4, 1), None), (12, 6), [({1: 4, 2: 1}, 6)]),
        (((2, 2), (4, 1), None), (12, 6), [({1: 4, 2: 1}, 3)]),
        ((None, (1, 2)), (8, 6), [({1: 1}, 3)]),
        ((None, None, (3, 2)), (8, 6), [({1: 1}, None), ({2: 3}, 3)]),
        (((2, 3), None, (1, 1)), (8, 6), [({1: 3}, 4), ({2: 1}, 6)]),
        ((None,), (8, 6), []),
    ],
)
def test_bonds(blocks, ends, bonds):
    assert Format((ONE,) * len(blocks), blocks).bonds(*ends) == bonds


@pytest.mark.parametrize(
    ("blocks", "ends", "message"),
    [
        (((2, 2), None), (9, 6), "9 channels cannot be divided into the groups of core 0"),
        (((2, 2), (4, 1), None), (10, 6), "5 channels cannot be divided into the groups of core 1"),
        ((None, (1, 4)), (8, 6), "in_channels = 6 does not fit the groups of the last core"),
        (((1, 2),), (3, 5), "in_channels = 5 does not fit the groups of the last core"),
        (((1, 2),), (3, 8), "in_channels = 8 does not fit the groups of the last core"),
    ],
)
def test_channels_that_do_not_fit(blocks, ends, message):
    with pytest.raises(TensorTrainError, match=message):
        Format((ONE,) * len(blocks), blocks).bonds(*ends)


def test_an_end_fixes_what_it_divides():
    assert Format((ONE,), ((1, 2),)).bonds(3, 6) == []
    assert Format((ONE, ONE), (None, (2, 3))).bonds(8, 9) == [({1: 2}, 3)]


def test_reports_call_a_format_by_its_name():
    assert formats.depthwise((3, 3)).name == "depthwise"
    assert formats.block_term((3, 3), 2, 3).name == "block_term(2, 3)"
    assert formats.block_term((3, 3), name="own").name == "own"
    assert formats.block_term((3, 3)).blocks == (None, (2, 2), None)


@pytest.mark.parametrize("name", formats.NAMED)
@pytest.mark.parametrize("size", [5, None, (), (0, 3), (3.0,), "33"])
def test_sizes_of_kernels_that_are_none(name, size):
    with pytest.raises(TensorTrainError, match="kernel_size"):
        formats.NAMED[name](size)
    with pytest.raises(TensorTrainError, match="kernel_size"):
        formats.chain((3, 3), size)


@pytest.mark.parametrize("ranks", [(4,), (4,) * 6, 4, "4444", (4, -2, 2, 4), (4, 2.0, 2, 4), None])
def test_ranks_that_do_not_fit_a_format(ranks):
    for count in (formats.tucker2(ONE).groups, formats.cp((1,)).groups, formats.tucker2(ONE).n_parameters):
        with pytest.raises(TensorTrainError, match="ranks"):
            count(ranks)


def test_formats_and_channels_of_other_types():
    for sizes, blocks in ((3, (None,)), (((3, 3),), 3), (((),), (None,))):
        with pytest.raises(TensorTrainError, match="kernel_sizes"):
            Format(sizes, blocks)
    for ends in ((0, 4), ("a", 4), (4, 1.0)):
        with pytest.raises(TensorTrainError, match="_channels = "):
            formats.cp((3, 3)).bonds(*ends)
