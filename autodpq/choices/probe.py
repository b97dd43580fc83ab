"""Whether a choice keeps its word on a few rows: asked before hours of work stand on one of a user's own."""

from __future__ import annotations

import numpy as np

from autodpq.choices.base import FLOAT_BITS, RESERVED, Choice, Made, layout_bytes
from autodpq.errors import AutoDPQError, one_line

_N_ROWS = 5


def probe(choice: Choice, dim: int) -> None:
    """Tries a choice on a handful of rows; :class:`autodpq.testing.ChoiceContract` asks for more.

    Args:
        choice: The choice.
        dim: X.

    Raises:
        AutoDPQError: What it says of itself is not what it does; names the method.
    """
    try:
        with np.errstate(all="ignore"):
            problem = _problem(choice, dim)
    except Exception as error:
        problem = f"it fails on {_N_ROWS} rows of {dim} numbers: {one_line(error)}"
    if problem is not None:
        raise AutoDPQError(f"choice {choice}: {problem}")


def _problem(choice: Choice, dim: int) -> str | None:
    modulus = choice.modulus(_N_ROWS)
    if not isinstance(modulus, int) or not 1 <= modulus <= _N_ROWS:
        return f"modulus({_N_ROWS}) is {modulus!r}, 1 to {_N_ROWS} is needed"
    layout, cost = choice.layout(_N_ROWS, dim), choice.cost(_N_ROWS, dim)
    if reserved := sorted(RESERVED & layout.keys()):
        return f"no array of its layout can be called {', '.join(reserved)}"
    n_bytes = layout_bytes(layout) + (modulus * dim * FLOAT_BITS // 8 if choice.keeps else 0)
    if -(-cost.bits // 8) != n_bytes:
        return f"cost says {cost.bits} bits, its layout takes {n_bytes} bytes"
    if not isinstance(choice, Made):
        return None
    rows = np.random.default_rng(0).normal(size=(_N_ROWS, dim)).astype(np.float32)
    if type(choice).group.__func__ is not Made.group.__func__:  # type: ignore[attr-defined]
        return None  # trained in a way of its own, which says itself what is packed
    shared = choice.start(rows, 0)
    packed = {name: (array.dtype, array.shape) for name, array in choice.pack(rows, shared).items()}
    if packed != layout:
        return f"pack gives {_shown(packed)}, its layout says {_shown(layout)}"
    made = choice.rounded(rows, shared)
    if not isinstance(made, np.ndarray) or made.dtype != np.float32 or made.shape != rows.shape:
        given = f"{getattr(made, 'dtype', type(made).__name__)} {list(getattr(made, 'shape', ()))}"
        return f"made gives {given}, float32 {list(rows.shape)} is needed"
    return None if np.isfinite(made).all() else "made gives numbers that are not finite"


def _shown(layout: dict[str, tuple[np.dtype, tuple[int, ...]]]) -> str:
    return ", ".join(f"{name} {dtype} {list(shape)}" for name, (dtype, shape) in layout.items()) or "nothing"
