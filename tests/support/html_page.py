"""A study's page, parsed."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from reports import (
    StudyResults,
    Table,
    calibration_table,
    headroom_table,
    load_study,
    statistics_table,
    study_page,
    table1,
    table2,
)

VOID = {"meta", "link", "br", "img", "wbr", "input", "hr"}


class Page(HTMLParser):
    """The page as a tree of (tag, attributes, children)."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.root: dict[str, Any] = {"tag": "", "attributes": {}, "children": []}
        self._open = [self.root]
        self.feed(text)
        self.close()
        assert len(self._open) == 1, "an element is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node: dict[str, Any] = {"tag": tag, "attributes": dict(attrs), "children": []}
        self._open[-1]["children"].append(node)
        if tag not in VOID:
            self._open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open[-1]["children"].append({"tag": tag, "attributes": dict(attrs), "children": []})

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()["tag"] == tag

    def handle_data(self, data: str) -> None:
        self._open[-1]["children"].append(data)

    def all(self, tag: str = "", within: Any = None, **attributes: str) -> list[dict[str, Any]]:
        found = []
        for child in (within or self.root)["children"]:
            if isinstance(child, str):
                continue
            own = child["attributes"]
            if tag in ("", child["tag"]) and all(own.get(k.rstrip("_")) == v for k, v in attributes.items()):
                found.append(child)
            found += self.all(tag, child, **attributes)
        return found

    def text(self, node: Any) -> str:
        if isinstance(node, str):
            return node
        return "".join(self.text(child) for child in node["children"])

    def table(self, node: Any) -> list[list[str]]:
        return [
            [self.text(cell).strip() for cell in row["children"] if not isinstance(cell, str)]
            for row in self.all("tr", node)
        ]


def tables_of(study: StudyResults) -> dict[str, Table]:
    tables = {"table1": table1(study), "table2": table2(study), "statistics": statistics_table(study)}
    return {**tables, "calibration": calibration_table(study), "headroom": headroom_table(study)}


def page_of(folder: Path) -> str:
    study = load_study(folder)
    return study_page(study, tables_of(study))
