"""A worker of a generate job whose device fails at its first sample; it imports nothing heavy."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path

from longspec.measure.job import Job
from longspec.measure.messages import Begins, Fails


def work(job: Job, connection: Connection) -> None:
    """Count the processes in the file `started`, and fail."""
    with Path("started").open("a") as file:
        file.write("x")
    connection.send(Begins(job.journal().done))
    connection.send(Fails("device_error", "no more"))
