"""What all tests share."""

from __future__ import annotations

import os

import pytest

# Before torch is imported, and for the processes that tests start: tests of this size gain nothing from threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
pytest.register_assert_rewrite("autodpq.testing")
