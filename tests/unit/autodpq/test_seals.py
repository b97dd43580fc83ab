from __future__ import annotations

import json
from typing import Any

import pytest

from autodpq.errors import AutoDPQError
from autodpq.seals import sealed, unsealed

VALUE: dict[str, Any] = {
    "auc": 0.1 + 0.2,
    "name": "Köln\n",
    "none": None,
    "many": [1, 1e-300, True],
    "within": {"a": 1},
}


def text_of(value: dict[str, Any], **form: Any) -> bytes:
    return (json.dumps(sealed(value), **form) + "\n").encode()


@pytest.mark.parametrize("form", [{}, {"indent": 1}, {"separators": (",", ":")}, {"ensure_ascii": False}])
def test_what_was_sealed_comes_back_whatever_its_form(form: dict[str, Any]) -> None:
    assert json.loads(unsealed(text_of(VALUE, **form))) == VALUE
    assert json.loads(unsealed(text_of({}, **form))) == {}


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b"\xff", b"[" * 100_000, b'{"seed": 1 }', b"{}"])
def test_what_has_no_seal_comes_back_as_it_is(content: bytes) -> None:
    assert unsealed(content) == content


def test_no_bit_can_be_flipped_without_a_word() -> None:
    content = text_of(VALUE, indent=1, ensure_ascii=False)
    told = 0
    for place in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        try:
            left = unsealed(bytes(flipped))
        except AutoDPQError as error:
            assert "\n" not in str(error)
            told += 1
            continue
        if left != bytes(flipped):
            assert json.loads(left) == VALUE, "a blank became another"
            continue
        with pytest.raises(ValueError, match=r"."):  # it is no JSON any longer
            json.loads(left.decode())
    assert told > len(content)


def test_an_entry_that_was_added_or_taken_out_is_told() -> None:
    whole = sealed(VALUE)
    for altered in ({**whole, "more": 1}, {name: value for name, value in whole.items() if name != "none"}):
        with pytest.raises(AutoDPQError, match="its entries are not those that were written: its seal does not fit"):
            unsealed(json.dumps(altered).encode())
