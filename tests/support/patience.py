"""How long a test waits for what must come."""

PATIENCE = 600.0
"""Seconds: more than anything here takes on a machine that is busy with other things; who waits so long has failed."""
