"""XXH64 of texts, many at once: a hash that is the same on every machine, in every version and in other languages.

Y. Collet's xxHash, https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md, of 64 bits, with the seed 0, of the
bytes of a text in UTF-8. It is fast and spreads texts evenly. It is no secret: who guesses a text can check the guess.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

Hashes = npt.NDArray[np.uint64]

_1, _2, _3, _4, _5 = (
    np.uint64(prime)
    for prime in (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
)
_STARTS = np.array([0x60EA27EEADC0B5D6, 0xC2B2AE3D27D4EB4F, 0, 0x61C8864E7A143579], np.uint64)
"""What the four lanes start at: the first two primes' sum, the second one, nothing, and minus the first one."""
_STRIPE, _WORD, _HALF = 32, 8, 4  # bytes
_TURNS = (1, 7, 12, 18)


def xxh64(texts: pl.Series) -> Hashes:
    """The hash of each text.

    Args:
        texts: String [rows], without nulls.

    Returns:
        uint64 [rows].
    """
    array = texts.to_arrow()
    _, ends, content = array.buffers()
    places = np.frombuffer(ends, np.int64)[array.offset : array.offset + len(array) + 1]
    begin, end = (int(places[0]), int(places[-1])) if len(places) else (0, 0)
    text = np.zeros(end - begin + _WORD, np.uint8)  # so that a word can be read from every byte
    if end > begin:
        text[:-_WORD] = np.frombuffer(content, np.uint8)[begin:end]
    words = np.ndarray((len(text) - _WORD + 1,), "<u8", text, strides=(1,))
    at, lengths = places[:-1] - begin, np.diff(places)
    hashes = np.full(len(array), _5)
    long = np.flatnonzero(lengths >= _STRIPE)
    if len(long):
        hashes[long] = _of_stripes(words, at[long], lengths[long] // _STRIPE)
    hashes += lengths.astype(np.uint64)
    at, rest = at + lengths // _STRIPE * _STRIPE, lengths % _STRIPE
    while len(some := np.flatnonzero(rest >= _WORD)):
        hashes[some] = _turned(hashes[some] ^ _round(np.uint64(0), words[at[some]]), 27) * _1 + _4
        at[some] += _WORD
        rest[some] -= _WORD
    if len(some := np.flatnonzero(rest >= _HALF)):
        half = words[at[some]] & np.uint64(0xFFFFFFFF)
        hashes[some] = _turned(hashes[some] ^ half * _1, 23) * _2 + _3
        at[some] += _HALF
        rest[some] -= _HALF
    while len(some := np.flatnonzero(rest)):
        hashes[some] = _turned(hashes[some] ^ text[at[some]].astype(np.uint64) * _5, 11) * _1
        at[some] += 1
        rest[some] -= 1
    for shift, prime in ((33, _2), (29, _3)):
        hashes = (hashes ^ hashes >> np.uint64(shift)) * prime
    return hashes ^ hashes >> np.uint64(32)


def _of_stripes(words: Hashes, at: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> Hashes:
    """What the whole stripes of long texts come to."""
    lanes = np.tile(_STARTS, (len(at), 1))
    offsets = np.arange(0, _STRIPE, _WORD)
    for stripe in range(int(counts.max())):
        some = np.flatnonzero(counts > stripe)
        lanes[some] = _round(lanes[some], words[at[some, None] + stripe * _STRIPE + offsets])
    hashes: Hashes = np.zeros(len(at), np.uint64)
    for lane, by in enumerate(_TURNS):
        hashes += _turned(lanes[:, lane], by)
    for lane in range(len(_TURNS)):
        hashes = (hashes ^ _round(np.uint64(0), lanes[:, lane])) * _1 + _4
    return hashes


def _round(lanes: Hashes | np.uint64, words: Hashes) -> Hashes:
    return _turned(lanes + words * _2, 31) * _1


def _turned(hashes: Hashes, by: int) -> Hashes:
    """Each with its bits turned to the left."""
    return hashes << np.uint64(by) | hashes >> np.uint64(64 - by)
