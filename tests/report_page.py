"""Parses a report's page: its sections, its charts and their descriptions, its text."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser


class Page(HTMLParser):
    """Tags with attributes, and the text, of a page; void and SVG tags too."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] != "script":
            self.text.append(data)


def svgs(page: str) -> list[str]:
    return re.findall(r"<svg.*?</svg>", page, re.DOTALL)


def chart(page: str, name: str) -> str:
    return re.search(rf'<figure id="chart-{name}".*?(<svg.*?</svg>)', page, re.DOTALL)[1]


def described(svg: str) -> str:
    """Return the description of a chart."""
    return list(ET.fromstring(svg))[1].text or ""


def section(page: str, name: str) -> str:
    return re.search(rf'<section id="{name}">(.*?)</section>', page, re.DOTALL)[1]


def shown(html: str) -> str:
    """Return the text of a part of a page."""
    return " ".join(" ".join(Page(f"<main>{html}").text).split())


def card(page: str) -> str:
    return re.search(r'<li class="card">(.*?)</li>', page, re.DOTALL)[1]
