"""Stable hashes: the same on every machine, even, and calm when a table grows."""

from hypothesis import given
from hypothesis import strategies as st

from storage.partition import shard_count, shard_of, stable_fraction


def test_hashes_are_pinned():
    """Another value here moves materials between training and test of every store there is."""
    assert shard_of("mp-149", 64) == 9
    assert round(stable_fraction("mp-149", 0), 6) == 0.351487


@given(st.text(), st.integers(0, 7))
def test_a_table_that_doubles_splits_its_shards(material_id, power):
    n = 2**power
    assert shard_of(material_id, 2 * n) % n == shard_of(material_id, n)


@given(st.text(), st.integers())
def test_fraction_lies_in_the_unit_interval(text, seed):
    assert 0 <= stable_fraction(text, seed) < 1


def test_fractions_are_even():
    low = sum(stable_fraction(f"mp-{n}", 1) < 0.1 for n in range(10_000))
    assert 900 < low < 1100


@given(st.integers(0, 1_000_000))
def test_shard_count_is_a_power_of_two_within_limits(rows):
    count = shard_count(rows)
    assert count & (count - 1) == 0
    assert 1 <= count <= 128
    assert count == 128 or rows <= 1500 * count
