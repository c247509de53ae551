"""Where the files are that are read as data: the configuration's schema, the report's template and style."""

from __future__ import annotations

from pathlib import Path

WORKFLOW = Path(__file__).resolve().parents[1]
SCHEMA = WORKFLOW / "schemas" / "config.schema.yaml"
TEMPLATE = WORKFLOW / "report" / "report.html.j2"
STYLE = WORKFLOW / "report" / "style.css"
