"""The analysis at scale: 2,000 jobs of 500 samples through its stages, and a report of 5,000 samples opened.

    python benchmarks/analysis.py [--models 10] [--datasets 50] [--samples 500] [--output analysis.json]

The results are made up (synthetic.py; not timed). Each stage runs as the workflow runs it, in a process of its own;
seconds and the most memory held. With chromium installed, the time in which it opens a report of 5,000 samples.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import synthetic

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("metrics", "lossless", "speedup", "audit", "summary", "report")
PROMISED = ("metrics", "speedup", "report")
"""At most 120 s together and 3 GB each."""
CONFIG = json.dumps({"methods": {name: {"method": entry["method"]} for name, entry in synthetic.METHODS.items()}})


def run(stage: str, grid: str, results: Path) -> dict:
    """One stage: seconds by the clock and of the processor, and the most bytes that it held."""
    named = [stage] if stage == "report" else ["analyse", stage]
    command = [sys.executable, "-m", "longspec", *named, "--grid", grid, "--results", str(results)]
    command += {"summary": ["--reports", str(results / "reports")]}.get(stage, [])
    command += {"report": ["--config", CONFIG, "--reports", str(results / "reports")]}.get(stage, [])
    started = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow")}
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{stage} failed")
    seconds, busy = time.perf_counter() - started, used.ru_utime + used.ru_stime
    print(f"{stage}: {seconds:.1f} s ({busy:.1f} s of processor), {used.ru_maxrss / 2**20:.2f} GiB", flush=True)
    return {"stage": stage, "seconds": seconds, "processor_seconds": busy, "bytes": used.ru_maxrss * 1024}


def analyse(models: int, datasets: int, samples: int, made: Path | None = None) -> tuple[list[dict], Path]:
    """Every stage over made-up results, made here unless they are given; the folder, which the caller removes."""
    grid = synthetic.grid(models, datasets)
    results = made or Path(tempfile.mkdtemp(prefix="longspec-analysis-"))
    if made is None:
        synthetic.write(results, grid["cells"], samples)
    return [run(stage, json.dumps(grid), results) for stage in STAGES], results


def opened(page: Path, rounds: int = 5) -> list[float]:
    """Seconds until a page is loaded and its first sample is shown; empty without playwright or chromium."""
    chromium = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return []
    if chromium is None:
        return []
    found = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(rounds):
            tab = browser.new_page()
            started = time.perf_counter()
            tab.goto(page.as_uri())
            tab.wait_for_function("document.getElementById('browser-place').textContent !== ''")
            found.append(time.perf_counter() - started)
            tab.close()
        browser.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("models", 10), ("datasets", 50), ("samples", 500)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--results", type=Path, help="what synthetic.py made with the same numbers; removed at the end")
    parser.add_argument("--output", type=Path, help="raw figures as JSON")
    args = parser.parse_args()
    rows, folder = analyse(args.models, args.datasets, args.samples, args.results)
    jobs = args.models * args.datasets * len(synthetic.METHODS)
    total = sum(row["seconds"] for row in rows if row["stage"] in PROMISED)
    size = (folder / "reports" / "index.html").stat().st_size
    shutil.rmtree(folder)
    print(
        f"{jobs} jobs, {jobs * args.samples} samples: {' + '.join(PROMISED)} {total:.1f} s; report {size / 1e6:.1f} MB"
    )
    many, folder = analyse(1, 1, 5000)
    page = folder / "reports" / "index.html"
    seconds, page_bytes = opened(page), page.stat().st_size
    shutil.rmtree(folder)
    if seconds:
        print(f"5,000 samples: {page_bytes / 1e6:.1f} MB, opened in {statistics.median(seconds):.2f} s")
    if args.output:
        raw = {"jobs": jobs, "samples": args.samples, "stages": rows, "report_bytes": size}
        browser = {"stages": many, "page_bytes": page_bytes, "opened_seconds": seconds}
        args.output.write_text(json.dumps({**raw, "5000_samples": browser}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
