"""The few operations that numpy, torch and ONNX write in different ways; all others are operators of theirs."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from autodpq.choices.codes import read_words


class Operations(Protocol):
    """What a look-up is written in. Arrays are numpy's or torch's, hence without a type here."""

    def take(self, array: Any, places: Any) -> Any:
        """Rows of an array, [places, ...]; ``places`` is int64 [n]."""
        ...

    def bits(self, stream: Any, places: Any, n_words: int, bits: int) -> Any:
        """Rows of ``n_words`` numbers of ``bits`` bits each out of a stream of bits, int64 [n, n_words]."""
        ...

    def row_bytes(self, stream: Any, places: Any, n_bytes: int) -> Any:
        """Rows of so many bytes each out of a stream of bits whose rows begin at bytes, uint8 [n, n_bytes]."""
        ...

    def where(self, condition: Any, then: Any, otherwise: Any) -> Any:
        """Entries of one array or of the other; a number stands for an array of it."""
        ...

    def cast(self, array: Any) -> Any:
        """The same numbers in float32."""
        ...

    def whole(self, array: Any) -> Any:
        """The same whole numbers in int64."""
        ...

    def search(self, rising: Any, values: Any) -> Any:
        """How many of the rising numbers are smaller than each value, int64."""
        ...

    def parted(self, is_first: Any, places: Any, first: Any, second: Any) -> Any:
        """Rows of which some come from one function of places and the others from another.

        Args:
            is_first: bool [n].
            places: int64 [n].
            first: Gives the rows of the places that it is called with, float32 [m, X].
            second: Likewise, for the other places.
        """
        ...


class NumpyOperations:
    """:class:`Operations` on arrays of numpy."""

    def take(self, array: npt.NDArray[Any], places: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Rows of an array."""
        return array.take(places, 0)

    def bits(
        self, stream: npt.NDArray[np.uint8], places: npt.NDArray[np.int64], n_words: int, bits: int
    ) -> npt.NDArray[np.int64]:
        """Rows of numbers out of a stream of bits."""
        return read_words(stream, places, n_words, bits)

    def row_bytes(
        self, stream: npt.NDArray[np.uint8], places: npt.NDArray[np.int64], n_bytes: int
    ) -> npt.NDArray[np.uint8]:
        """Rows of bytes out of a stream."""
        return stream.reshape(-1, n_bytes).take(places, 0)

    def where(self, condition: Any, then: Any, otherwise: Any) -> Any:
        """Entries of one array or of the other."""
        chosen = np.where(condition, then, otherwise)
        # Of two numbers of Python's, torch makes 32 bits.
        return chosen.astype(np.float32) if chosen.dtype == np.float64 else chosen

    def cast(self, array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """The same numbers in float32."""
        return array.astype(np.float32, copy=False)

    def whole(self, array: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """The same whole numbers in int64."""
        return array.astype(np.int64, copy=False)

    def search(self, rising: npt.NDArray[Any], values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How many of the rising numbers are smaller than each value."""
        return np.searchsorted(rising, values)

    def parted(self, is_first: npt.NDArray[np.bool_], places: npt.NDArray[np.int64], first: Any, second: Any) -> Any:
        """Rows of which some come from one function and the others from another."""
        if is_first.all():
            return first(places)
        if not is_first.any() and len(places):
            return second(places)
        of_second = second(places[~is_first])
        rows = np.empty((len(places), of_second.shape[1]), of_second.dtype)
        rows[~is_first] = of_second
        rows[is_first] = first(places[is_first])
        return rows


NUMPY = NumpyOperations()
