"""Disks of a test's own."""

from __future__ import annotations

import subprocess

from support.patience import PATIENCE


def can_mount() -> bool:
    """Whether this process may mount a disk of its own, which Linux allows in a namespace unless it is told not to."""
    try:
        command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
        return subprocess.run(command, capture_output=True, timeout=PATIENCE).returncode == 0
    except OSError:
        return False
