"""A kind of choice as its author writes it, and kinds that break their word."""

from __future__ import annotations

SOUND = '''
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from autodpq.choices import Layout, Made


@dataclass(frozen=True)
class PowersOfTwo(Made):
    """Every number is rounded to a power of two and its sign: a byte instead of four."""

    name: ClassVar[str] = "powers-of-two"

    def layout(self, n_rows: int, dim: int) -> Layout:
        return {"exponents": (np.dtype("i1"), (n_rows, dim))}

    def pack(self, rows: np.ndarray, shared: Mapping[str, Any]) -> dict[str, np.ndarray]:
        exponents = np.rint(np.log2(np.abs(rows).clip(2.0**-60, 2.0**3))) + 61
        return {"exponents": (np.where(rows < 0, -1, 1) * exponents).astype(np.int8)}

    def made(self, arrays: Mapping[str, Any], places: Any, dim: int, operations: Any) -> Any:
        exponents = operations.cast(operations.take(arrays["exponents"], places))
        return operations.where(exponents < 0, -1.0, 1.0) * 2.0 ** (abs(exponents) - 61.0)
'''

COST = """    def cost(self, n_rows, dim):
        from autodpq.choices import Cost
        return Cost(1, 8)

    def pack("""

BROKEN = {
    # what of the sound one is replaced, by what, and what the error then says
    "a cost that is not the file's": (
        "    def pack(", COST, "choice powers-of-two: cost says 8 bits, its layout takes 80 bytes",
    ),
    "packs what it does not lay out": (
        "astype(np.int8)", "astype(np.int16)",
        "choice powers-of-two: pack gives exponents int16 [5, 16], its layout says exponents int8 [5, 16]",
    ),
    "makes rows of another length": (
        'operations.take(arrays["exponents"], places))', 'operations.take(arrays["exponents"], places))[:, :3]',
        "made gives float32 [5, 3], float32 [5, 16] is needed",
    ),
    "makes what is no number": ("- 61.0)", "+ 961.0)", "choice powers-of-two: made gives numbers that are not finite"),
    "takes a name of the table's": (
        '"exponents"', '"rows"', "choice powers-of-two: no array of its layout can be called rows",
    ),
    "fails": ("np.log2(", "np.log3(", "choice powers-of-two: it fails on 5 rows of 16 numbers: AttributeError"),
    "lacks a method": ("def made(", "def makes(", "PowersOfTwo does not define made"),
    "is called like another": ('"powers-of-two"', '"int"', "choice 'int' is there twice"),
    "is no choice": ("class PowersOfTwo(Made)", "class PowersOfTwo", "is no subclass of autodpq.choices.base.Choice"),
}  # fmt: skip
