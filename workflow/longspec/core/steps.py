"""The steps of the analysis, and the modules that make each one's files. Nothing is imported here.

`python -m longspec analyse STEP` calls a step's modules one after another; a step's version is a hash of their code.
"""

from __future__ import annotations

STEPS = {
    "metrics": ("analysis.sample_tables",),
    "lossless": ("analysis.lossless_table",),
    "speedup": ("analysis.speedup_table", "analysis.costs_table", "analysis.tuning_table"),
    "audit": ("verify.audit", "verify.audit_published"),
    "summary": ("report.summary",),
}
