"""Hooks of the documentation's build: the command line's reference, and names in docstrings."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

COMMANDS = "<!-- the commands -->"
_ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod|obj):<code>~?([^<]*)</code>")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Puts the options of every command where a page has the marker."""
    return markdown.replace(COMMANDS, commands()) if COMMANDS in markdown else markdown


def on_page_content(html: str, **_: Any) -> str:
    """Docstrings name things as :class:`Name`, which Markdown does not know; the name alone is shown."""
    return _ROLE.sub(r"<code>\1</code>", html)


def commands() -> str:
    """Typer's own reference of the command line; made with the site, so that it cannot fall behind the help texts."""
    docs = [sys.executable, "-m", "typer", "studies.cli.main", "utils", "docs", "--name", "autodpq-study"]
    text = subprocess.run(docs, check=True, capture_output=True, text=True).stdout
    # The title is the page's; the list of commands cuts what each does short, and the table of contents has them all.
    return re.sub(r"\A# .*\n+|\*\*Commands\*\*:\n\n(\* .*\n)+", "", text)
