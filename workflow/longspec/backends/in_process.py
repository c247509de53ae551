"""What the backends have in common that run in the job's own process, without a server."""

from __future__ import annotations

import psutil


class InProcess:
    """Answer for the parts of a backend's interface that concern servers."""

    command: list[str] | None = None

    def processes(self) -> list[psutil.Process]:
        """Return none: everything runs in this process."""
        return []

    def end(self) -> None:
        """Do nothing: nothing runs outside this process."""
