"""Where the files are that are read as data: schemas, the report's templates and style."""

from __future__ import annotations

from pathlib import Path

WORKFLOW = Path(__file__).resolve().parents[1]
SCHEMA = WORKFLOW / "schemas" / "config.schema.yaml"
SUMMARY_SCHEMA = WORKFLOW / "schemas" / "summary.schema.json"
TEMPLATE = WORKFLOW / "report" / "report.html.j2"
STYLE = WORKFLOW / "report" / "style.css"
SCRIPT = WORKFLOW / "report" / "report.js"
PAPER = WORKFLOW / "report" / "paper.html.j2"
MACROS = WORKFLOW / "report" / "macros.html.j2"
PUBLISHED = WORKFLOW / "report" / "longspec.csv"
"""LongSpec's published figures."""
REPORT_FILES = (TEMPLATE, STYLE, SCRIPT, PAPER, MACROS, PUBLISHED)
