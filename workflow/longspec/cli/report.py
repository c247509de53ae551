"""Write the report and the page beside LongSpec's figures, from the tables and runs."""

from __future__ import annotations

from pathlib import Path

from longspec.cli._arguments import of_json
from longspec.cli._grid import arguments
from longspec.core.io import write_whole
from longspec.report import longspec_paper, page, results


def main(argv: list[str] | None = None) -> None:
    """Parse arguments, read the results, write both pages."""
    parser = arguments(__doc__)
    parser.add_argument("--config", type=of_json, required=True, help="the configuration, as JSON")
    parser.add_argument("--unpinned", nargs="*", default=[], help="what is read from a hub without a commit")
    parser.add_argument("--reports", type=Path, required=True, help="folder of the pages")
    args = parser.parse_args(argv)
    read = results.read(args.results, args.grid, args.config)
    pages = {
        args.reports / "index.html": page.render(read, args.unpinned),
        args.reports / "paper.html": longspec_paper.render(read),
    }
    args.reports.mkdir(parents=True, exist_ok=True)
    write_whole(pages)
    print(f"report: {(args.reports / 'index.html').resolve()}")
