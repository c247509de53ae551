# Shared by all rules: the checked configuration, the folders that paths begin with, and how a command is called.
#
# `plan` answers what each job is given; see longspec/config/plan/.

import os
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

# This checkout's package, before one that may be installed.
PACKAGE = str(Path(workflow.basedir) / "workflow")
sys.path.insert(0, PACKAGE)

from longspec.config.load import load
from longspec.config.plan.plan import Plan
from longspec.core.errors import UserError
from longspec.core.program import explained
from longspec.measure.journal import tidy
from longspec.measure.lock import hold_until_exit
from longspec.report import notes

# Every job runs the python that runs snakemake, with this package, and ends when snakemake does (core/watchdog.py).
# A prefix replaces Snakemake's own, without which a command that fails before `| tee` would count as done.
shell.prefix(
    f"set -euo pipefail; export PYTHONPATH={shlex.quote(PACKAGE)} PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"
    " LONGSPEC_PARENT=$PPID; "
)

# While the rules are read no executor is known, but a number of nodes is a cluster's alone, in a dry run too.
on_a_cluster = workflow.resource_settings.nodes is not None

try:
    plan = Plan(load(config, [Path(file) for file in workflow.configfiles]))
    if workflow.is_main_process:  # not once more by each job of a cluster
        plan.require_engines()
        if not on_a_cluster and "gpu" in workflow.global_resources:
            plan.require_gpus(workflow.global_resources["gpu"].value)
except UserError as error:
    raise WorkflowError(str(error)) from None
if on_a_cluster:
    workflow.global_resources["gpu"] = None  # one machine's limit, which would be each job's too


# <results> and <reports> in the rules' paths.
pathvars:
    results=plan.results,
    reports=plan.reports,


wildcard_constraints:
    model="[^/]+",
    dataset="[^/]+",
    method="[^/]+",
    drafter="[^/]+",


def every(pattern, **chosen):
    """A pattern filled in for each model, data set and method of the experiment, as far as it names them."""
    return plan.every(pattern, **chosen)


def of_job(pattern):
    """A pattern as one generate job fills it in: for every method at once where they are interleaved."""
    return expand(pattern, method=plan.methods, allow_missing=True) if plan.interleaved else pattern


def of_the_other(pattern):
    """A pattern as it is of the job whose output a gate holds its own job's against."""
    return lambda wildcards: expand(pattern, **{**wildcards, "method": plan.gated_against(wildcards.method)})


def begin(plan):
    """Before a run does anything: be the only one at work on these results, until this process ends.

    Instead of Snakemake's own lock, which a killed run leaves locked and which cannot tell whose it is.
    """
    try:
        hold_until_exit(Path(plan.results) / "snakemake.lock")
    except (UserError, OSError) as error:
        if (message := explained(error)) is None:
            raise
        raise WorkflowError(message) from None
    for note in notes.before(plan):
        print(note, file=sys.stderr)


def end(plan):
    """After a run, whether it did all that it should or not: what it has noted as done need not be kept twice."""
    tidy(Path(plan.results))


def summarise(plan):
    """After a run that did something: the speedups, and where the report lies."""
    print(notes.after(plan), end="")
