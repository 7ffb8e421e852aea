"""Random numbers as a function of position."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from caffepy.engine.core.random import PART, Part, Stream

MASK = (1 << 64) - 1


def philox(key: tuple[int, int], counter: tuple[int, int, int, int]) -> list[int]:
    """Philox4x64-10 in plain integers, from its publication: the four words of one block."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        low, high = 0xD2E7470EE14C6C93 * c0, 0xCA5A826395121157 * c2
        c0, c1, c2, c3 = (high >> 64) ^ c1 ^ k0, high & MASK, (low >> 64) ^ c3 ^ k1, low & MASK
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & MASK, (k1 + 0xBB67AE8584CAA73B) & MASK
    return [c0, c1, c2, c3]


@pytest.fixture
def stream() -> Stream:
    return Stream(7, "drop1", "mask")


@pytest.mark.parametrize("position", [0, 5, (1 << 32) + 1])
def test_block_n_of_a_position_belongs_to_counter_n_plus_1(stream: Stream, position: int) -> None:
    expected = [
        word for block in range(1, 4) for word in philox(stream.key, (block, 0, position, 0))
    ]
    assert stream.words(position, 12).tolist() == expected


def test_words_are_those_of_numpys_philox(stream: Stream) -> None:
    generator = np.random.Philox(key=np.array(stream.key, np.uint64), counter=[0, 0, 9, 0])
    np.testing.assert_array_equal(stream.words(9, 21), generator.random_raw(21))


def test_blocks_are_numbered_fours_of_words(stream: Stream) -> None:
    fours = stream.words(0, 40).reshape(10, 4)
    np.testing.assert_array_equal(stream.blocks(0, 10), fours)
    np.testing.assert_array_equal(stream.blocks(7, 2), fours[7:9])


def test_known_answer() -> None:
    """These words decide every seeded run: a change here breaks exact resume of old snapshots."""
    assert Stream(1, "conv1", "param0").words(0, 2).tolist() == [
        7490470496008907865,
        13863072806831250294,
    ]


def test_words_do_not_depend_on_what_ran_before(stream: Stream) -> None:
    alone = stream.words(3, 10)
    for position in (3, 0, 4):
        stream.words(position, 1000)
    np.testing.assert_array_equal(stream.words(3, 10), alone)
    np.testing.assert_array_equal(stream.words(3, 4), alone[:4])


@pytest.mark.parametrize(
    "arguments",
    [
        (8, "drop1", "mask", 0),
        (7, "drop2", "mask", 0),
        (7, "drop1", "x", 0),
        (7, "drop1", "mask", 1),
    ],
)
def test_streams_differ_by_seed_layer_purpose_and_rank(
    stream: Stream, arguments: tuple[int, str, str, int]
) -> None:
    assert (Stream(*arguments).words(0, 8) != stream.words(0, 8)).all()


def test_positions_differ(stream: Stream) -> None:
    assert not set(stream.words(0, 1000).tolist()) & set(stream.words(1, 1000).tolist())


def test_halves_are_the_low_and_high_parts_of_words(stream: Stream) -> None:
    first, second = stream.words(2, 2).tolist()
    expected = [first & 0xFFFFFFFF, first >> 32, second & 0xFFFFFFFF]
    assert stream.halves(2, 3).tolist() == expected
    assert stream.halves(2, 3).dtype == np.uint32


def test_uniform_lies_in_its_interval_evenly(stream: Stream) -> None:
    drawn = stream.uniform(0, 100_000)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    np.testing.assert_allclose(np.histogram(drawn, 10, (0, 1))[0], 10_000, atol=500)


def assembled(parts: Iterable[Part], count: int) -> np.ndarray:
    """The numbers of all parts in their places; nan where there is none."""
    numbers = np.full(count, np.nan)
    for start, part in parts:
        assert np.isnan(numbers[start : start + len(part)]).all()
        numbers[start : start + len(part)] = part
    return numbers


@pytest.mark.parametrize("count", [1, 2, PART, PART + 1, 2 * PART + 3])
def test_parts_give_the_numbers_of_the_whole(stream: Stream, count: int) -> None:
    uniform = stream.uniform(3, count)
    np.testing.assert_array_equal(assembled(stream.uniform_parts(3, count), count), uniform)
    np.testing.assert_array_equal(stream.uniform(3, count - 1, 1), uniform[1:])
    pairs = (count + 1) // 2
    radius = np.sqrt(-2 * np.log1p(-stream.uniform(3, pairs)))
    angle = 2 * np.pi * stream.uniform(3, pairs, pairs)
    gaussian = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
    np.testing.assert_array_equal(assembled(stream.gaussian_parts(3, count), count), gaussian)


def test_gaussian_has_mean_0_deviation_1_and_the_right_tails(stream: Stream) -> None:
    drawn = assembled(stream.gaussian_parts(0, 2 * PART + 3), 2 * PART + 3)
    assert abs(drawn.mean()) < 0.02
    assert abs(drawn.std() - 1) < 0.01
    assert abs((np.abs(drawn) > 1.959964).mean() - 0.05) < 0.004
    assert np.isfinite(drawn).all()


def test_integers_reach_every_number_below_the_bound(stream: Stream) -> None:
    drawn = stream.integers(0, 1000, 7)
    assert set(drawn.tolist()) == set(range(7))


def test_permutation_holds_every_number_once(stream: Stream) -> None:
    drawn = stream.permutation(4, 100)
    assert sorted(drawn.tolist()) == list(range(100))
    assert (drawn != stream.permutation(5, 100)).any()
    np.testing.assert_array_equal(drawn, np.argsort(stream.words(4, 100)))


def test_nothing_is_drawn_for_a_count_of_0(stream: Stream) -> None:
    for draw in (stream.words, stream.halves, stream.uniform, stream.permutation):
        assert draw(0, 0).shape == (0,)
    assert not list(stream.gaussian_parts(0, 0))
