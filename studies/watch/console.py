"""Where a command or a call from Python tells its lines."""

from __future__ import annotations

import sys

from rich.console import Console


def python_console(show: bool) -> Console:
    """The console of a call from Python; silent unless it is to show."""
    # In a notebook: plain lines. Its output says that it is a terminal, and would show every frame of the bar.
    own = None if sys.stdout is sys.__stdout__ else False
    return Console(emoji=False, quiet=not show, force_jupyter=False, force_terminal=own)


def say(console: Console, line: str) -> None:
    """Prints a line as it is: brackets are no markup, and it is wrapped by whoever shows it."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)
