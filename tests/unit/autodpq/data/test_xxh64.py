from __future__ import annotations

import polars as pl
from hypothesis import example, given
from hypothesis import strategies as st

from autodpq.data.xxh64 import xxh64

PRIMES = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
BITS = (1 << 64) - 1


def turned(number: int, by: int) -> int:
    return (number << by | number >> 64 - by) & BITS


def round_of(lane: int, word: int) -> int:
    return turned(lane + word * PRIMES[1] & BITS, 31) * PRIMES[0] & BITS


def expected(text: bytes) -> int:
    """The specification, step by step."""
    at, size = 0, len(text)
    hashed = PRIMES[4]
    if size >= 32:
        lanes = [PRIMES[0] + PRIMES[1] & BITS, PRIMES[1], 0, -PRIMES[0] & BITS]
        for at in range(0, size - 31, 32):
            for lane in range(4):
                word = int.from_bytes(text[at + 8 * lane : at + 8 * lane + 8], "little")
                lanes[lane] = round_of(lanes[lane], word)
        at += 32
        hashed = sum(turned(lane, by) for lane, by in zip(lanes, (1, 7, 12, 18), strict=True)) & BITS
        for lane in lanes:
            hashed = (hashed ^ round_of(0, lane)) * PRIMES[0] + PRIMES[3] & BITS
    hashed = hashed + size & BITS
    while size - at >= 8:
        hashed ^= round_of(0, int.from_bytes(text[at : at + 8], "little"))
        hashed, at = turned(hashed, 27) * PRIMES[0] + PRIMES[3] & BITS, at + 8
    if size - at >= 4:
        hashed ^= int.from_bytes(text[at : at + 4], "little") * PRIMES[0] & BITS
        hashed, at = turned(hashed, 23) * PRIMES[1] + PRIMES[2] & BITS, at + 4
    for byte in text[at:]:
        hashed = turned(hashed ^ byte * PRIMES[4] & BITS, 11) * PRIMES[0] & BITS
    for shift, prime in ((33, PRIMES[1]), (29, PRIMES[2])):
        hashed = (hashed ^ hashed >> shift) * prime & BITS
    return hashed ^ hashed >> 32


def test_hashes_are_those_that_its_author_gives() -> None:
    texts = ["", "a", "abc", "Nobody inspects the spammish repetition"]
    known = [0xEF46DB3751D8E999, 0xD24EC4F1A98C6E5B, 0x44BC2CF5AD770999, 0xFBCEA83C8A378BF1]
    assert xxh64(pl.Series(texts)).tolist() == known == [expected(text.encode()) for text in texts]


@given(st.lists(st.text(max_size=12) | st.text("ab🙂", min_size=20, max_size=90), max_size=12), st.integers(0, 3))
@example(["x" * size for size in range(80)], 1)
def test_many_at_once_are_hashed_as_each_alone(texts: list[str], begin: int) -> None:
    series = pl.Series(texts, dtype=pl.String)
    hashes = [expected(text.encode()) for text in texts]
    assert xxh64(series).tolist() == hashes
    assert xxh64(series.slice(begin)).tolist() == hashes[begin:]
    assert xxh64(pl.concat([series.slice(begin), series])).tolist() == hashes[begin:] + hashes
