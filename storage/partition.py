"""Stable hashes: the shard and the split of a material depend on its id alone, not on the other rows of the table."""

import hashlib


def stable_fraction(text: str, seed: int) -> float:
    """A number in [0, 1) that depends on (text, seed) alone, the same in every process and on every platform."""
    digest = hashlib.blake2b(f"{seed}\0{text}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def shard_of(material_id: str, n_shards: int) -> int:
    """The number of the shard that holds this material, 0 ≤ shard < n_shards."""
    digest = hashlib.blake2b(material_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % n_shards


def shard_count(rows: int, rows_per_shard: int = 1500) -> int:
    """The number of shards, 1 to 128: a power of two, so that a growing table keeps its shards until it has doubled."""
    count = 1
    while count * rows_per_shard < rows and count < 128:
        count *= 2
    return count


def shards_in_common(shard: int, count: int, earlier_count: int) -> list[int]:
    """Which of `earlier_count` shards can hold a material that is in `shard` of `count` (both powers of two)."""
    common = min(count, earlier_count)
    return list(range(shard % common, earlier_count, common))
