"""Readers put together and cut apart in any way hold what a list treated likewise holds."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.core.exposure import Exposure, Source
from cascade.inputs.base import chain, check_part
from cascade.inputs.order import reordered

quickly = settings(max_examples=60, deadline=None)


@dataclass(frozen=True)
class Numbered:
    """Exposures that are no more than their numbers."""

    numbers: tuple[int, ...]

    def __len__(self):
        return len(self.numbers)

    def source(self, index):
        check_index(index, len(self))
        return Source(f"x[{self.numbers[index]}]", self.numbers[index])

    def read(self, index):
        return Exposure(self.source(index), np.full((1, 1), self.numbers[index], np.uint8))

    def part(self, start, stop):
        check_part(start, stop, len(self))
        return Numbered(self.numbers[start:stop])


def check_index(index, length):
    if not 0 <= index < length:
        msg = f"exposure {index}: the reader has {length}"
        raise IndexError(msg)


def held(reader):
    """The numbers of a reader; those of sources, read sources and images must agree."""
    numbers = []
    for index in range(len(reader)):
        exposure = reader.read(index)
        assert exposure.source == reader.source(index)
        assert exposure.image.item() == exposure.source.expnum
        numbers.append(exposure.source.expnum)
    return numbers


def permutations(draw, length):
    return np.array(draw(st.permutations(range(length))), np.intp)


def bounds(draw, length):
    return sorted((draw(st.integers(0, length)), draw(st.integers(0, length))))


@st.composite
def numbered(draw):
    """A plain reader, perhaps empty, and its list."""
    numbers = draw(st.lists(st.integers(0, 255), max_size=5))
    return Numbered(tuple(numbers)), numbers


@st.composite
def derived(draw, inner):
    """A chain, a part or another order of readers, and the list treated likewise."""
    kind = draw(st.sampled_from(["chain", "part", "reordered"]))
    if kind == "chain":
        several = draw(st.lists(inner, max_size=4))
        return chain(reader for reader, _ in several), [n for _, numbers in several for n in numbers]
    reader, numbers = draw(inner)
    if kind == "part":
        start, stop = bounds(draw, len(numbers))
        return reader.part(start, stop), numbers[start:stop]
    order = permutations(draw, len(numbers))
    return reordered(reader, order), [numbers[k] for k in order]


readers = st.recursive(numbered(), derived, max_leaves=8)
"""Any reader made of others, and the list that it must hold."""


@quickly
@given(readers)
def test_any_reader_holds_what_its_list_holds(made):
    reader, numbers = made
    assert len(reader) == len(numbers)
    assert held(reader) == numbers


@quickly
@given(readers, st.data())
def test_part_is_a_slice_here_and_in_another_process(made, data):
    reader, numbers = made
    start, stop = bounds(data.draw, len(numbers))
    part = reader.part(start, stop)
    assert held(part) == numbers[start:stop]
    assert held(pickle.loads(pickle.dumps(part))) == numbers[start:stop]


@quickly
@given(readers, st.data())
def test_part_of_a_part_is_a_part(made, data):
    reader, numbers = made
    start, stop = bounds(data.draw, len(numbers))
    first, last = bounds(data.draw, stop - start)
    assert held(reader.part(start, stop).part(first, last)) == held(reader.part(start + first, start + last))


@quickly
@given(readers, st.data())
def test_chain_of_parts_is_the_whole(made, data):
    reader, numbers = made
    cuts = [0, *sorted(data.draw(st.lists(st.integers(0, len(numbers)), max_size=4))), len(numbers)]
    assert held(chain(reader.part(a, b) for a, b in pairwise(cuts))) == numbers


@quickly
@given(st.lists(readers, min_size=3, max_size=3))
def test_chains_may_be_chained(made):
    (a, _), (b, _), (c, _) = made
    assert held(chain([chain([a, b]), c])) == held(chain([a, chain([b, c])])) == held(chain([a, b, c]))


@quickly
@given(readers, st.data())
def test_reordering_twice_is_one_order(made, data):
    reader, numbers = made
    first, second = (permutations(data.draw, len(numbers)) for _ in range(2))
    assert held(reordered(reordered(reader, first), second)) == held(reordered(reader, first[second]))


@quickly
@given(readers, st.data())
def test_an_order_is_undone_by_its_inverse(made, data):
    reader, numbers = made
    order = permutations(data.draw, len(numbers))
    assert held(reordered(reordered(reader, order), np.argsort(order))) == numbers
    assert reordered(reader, np.arange(len(numbers))) is reader


@quickly
@given(readers, st.integers(1, 3))
def test_what_lies_beyond_any_reader_is_refused(made, beyond):
    reader, numbers = made
    for index in (-beyond, len(numbers) - 1 + beyond):
        with pytest.raises(IndexError, match=f"exposure {index}: the reader has {len(numbers)}"):
            reader.source(index)
        with pytest.raises(IndexError, match=f"exposure {index}: the reader has {len(numbers)}"):
            reader.read(index)
    for start, stop in ((-beyond, 0), (0, len(numbers) + beyond), (len(numbers) + beyond, len(numbers))):
        with pytest.raises(IndexError, match=f"part {start}:{stop}: the reader has {len(numbers)} exposures"):
            reader.part(start, stop)
