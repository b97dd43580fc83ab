"""The code that pages of the documentation show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        page: The page's path from the root.
        line: The line of its first line.
        language: What it is in.
        title: The file that it is, or "".
        text: What it holds, files that it includes put in.
        reason: Why it is not run, or "".
    """

    page: str
    line: int
    language: str
    title: str
    text: str
    reason: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(path: Path) -> Iterator[Block]:
    """The blocks of a page, in order.

    A block that has a title is a file. ``<!-- not run: reason -->`` on the line before says that a block is not run.
    """
    lines = path.read_text().splitlines()
    start: int | None = None
    for number, line in enumerate(lines):
        if not line.lstrip().startswith("```"):
            continue
        if start is None:
            start = number
            continue
        opening = re.fullmatch(r'```(\w*)(?: title="([^"]+)")?', lines[start])
        assert opening, f"{path}:{start + 1}: {lines[start]!r} opens no block that is known here"
        text = "\n".join(lines[start + 1 : number]) + "\n"
        text = re.sub(r'--8<-- "(.+)"', lambda found: (ROOT / found[1]).read_text().rstrip(), text)
        marker = re.fullmatch(r"<!-- (?:not run: (.+)|the test command) -->", lines[start - 1])
        page, reason = str(path.relative_to(ROOT)), (marker[1] or "it runs these tests") if marker else ""
        yield Block(page, start + 2, opening[1], opening[2] or "", text, reason)
        start = None
    assert start is None, f"{path}: a block is not closed"
