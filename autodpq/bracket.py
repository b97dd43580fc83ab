"""The range of sizes in which the smallest lies whose loss is allowed: where to look next, and when that is enough."""

from __future__ import annotations

import math

NEAR = 1.15
"""Sizes of which the larger is at most so many times the smaller are the same: seeds differ by more."""
_MARGIN = 0.125  # of the range, in logarithm: a guess nearer to an end would hardly narrow it


class Bracket:
    """A range of sizes: what is as small as its low end loses too much, what is as large as its high end does not.

    Losses are taken to go straight from end to end by the logarithm of the size (regula falsi); where one of them is
    not known, the range is halved in logarithm.

    Args:
        low: The smallest size there is, above 0; what it loses is not known.
        high: The largest that is worth a try.
        max_loss: What is allowed.
        high_loss: What the high end loses; None where that is not known.
    """

    def __init__(self, low: float, high: float, max_loss: float, high_loss: float | None = None) -> None:
        self.low, self.high, self.max_loss = low, high, max_loss
        self._low_excess: float | None = None
        self._high_excess = None if high_loss is None else high_loss - max_loss

    @property
    def is_narrow(self) -> bool:
        """Whether the ends are as good as the same."""
        return self.high <= NEAR * self.low

    def middle(self) -> float:
        """The size to try next, between the ends."""
        share = 0.5
        if self._low_excess is not None and self._high_excess is not None:
            share = self._low_excess / (self._low_excess - self._high_excess)
            share = min(max(share, _MARGIN), 1 - _MARGIN)
        return math.exp((1 - share) * math.log(self.low) + share * math.log(self.high))

    def refuse(self, size: float, loss: float | None = None) -> None:
        """A size lost more than is allowed; None where there is nothing of that size."""
        if size >= self.low:
            self.low, self._low_excess = size, None if loss is None else loss - self.max_loss

    def allow(self, size: float, loss: float) -> None:
        """A size lost no more than is allowed."""
        if size <= self.high:
            self.high, self._high_excess = size, loss - self.max_loss
