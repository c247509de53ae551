"""A served engine's server: a process of a job, started on a free port of 127.0.0.1, asked over HTTP, and ended.

Contract: the server does not outlive the process that made it (core/guard.py), and its output is kept in a log. What
it says is neither parsed nor judged here, but for HTTP's own status. While an answer streams, nothing is done but to
note the time of each piece that arrives.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
import psutil

from longspec.backends.served._interface import Start
from longspec.core import guard
from longspec.core.errors import UserError, one_line, redacted

ASK_SECONDS = 5.0
"""Seconds that a question of health or version may take."""
LAST_CHARACTERS = 600
"""Of a server's log, told where it does not start."""
PACKAGE = Path(__file__).resolve().parents[2]


class ServerError(RuntimeError):
    """A server failed: it died, refused a request, or said what cannot be. `alive`: whether it answers others."""

    def __init__(self, message: str, alive: bool) -> None:
        super().__init__(message)
        self.alive = alive


def free_port() -> int:
    """Find a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class Server:
    """Ask a server at an address, which another process runs or which was started here (`Started`)."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.client = httpx2.Client(
            base_url=self.url, timeout=httpx2.Timeout(None, connect=ASK_SECONDS), trust_env=False
        )

    def get(self, path: str) -> Any:
        """Ask for a path; returns the JSON or else the text that it answers. Raises httpx2.HTTPError."""
        response = self.client.get(path, timeout=ASK_SECONDS)
        response.raise_for_status()
        with contextlib.suppress(ValueError):
            return response.json()
        return response.text

    def healthy(self, path: str) -> bool:
        """Tell if the server answers a path."""
        try:
            return bool(self.client.get(path, timeout=ASK_SECONDS).is_success)
        except httpx2.HTTPError:
            return False

    def alive(self) -> bool:
        """Tell if there is still a server to ask."""
        try:
            self.client.get("/", timeout=ASK_SECONDS)
        except httpx2.HTTPError:
            return False
        return True

    def processes(self) -> list[psutil.Process]:
        """List the server's processes; none where it runs elsewhere, or under another user."""
        with contextlib.suppress(psutil.Error):
            for at in psutil.net_connections("tcp"):
                if at.pid and at.status == psutil.CONN_LISTEN and at.laddr[1:] == (self.client.base_url.port,):
                    listening = psutil.Process(at.pid)
                    return [listening, *listening.children(recursive=True)]
        return []

    def end(self) -> None:
        """Close the connections."""
        self.client.close()

    def stream(self, path: str, body: dict[str, Any]) -> tuple[float, list[tuple[float, bytes]]]:
        """Post a question, and take the answer's stream: (time of sending, [(time of arrival, event)]).

        Times are time.perf_counter's; an event is the text of one `data:` line. Raises ServerError."""
        arrived: list[tuple[float, bytes]] = []
        content, headers = json.dumps(body).encode(), {"content-type": "application/json"}
        sent = time.perf_counter()
        try:
            with self.client.stream("POST", path, content=content, headers=headers) as response:
                if not response.is_success:
                    said = one_line(ValueError(response.read().decode(errors="replace")))
                    raise ServerError(redacted(f"it answers {response.status_code} ({said[:300]})"), self.alive())
                for piece in response.iter_raw():
                    arrived.append((time.perf_counter(), piece))
        except httpx2.HTTPError as error:
            raise ServerError(f"the answer breaks off: {one_line(error)}", self.alive()) from None
        return sent, events(arrived)


def events(arrived: list[tuple[float, bytes]]) -> list[tuple[float, bytes]]:
    """Cut a stream of server-sent events into `data:` lines, each with the time at which it was complete."""
    found, rest = [], b""
    for seconds, piece in arrived:
        *lines, rest = (rest + piece).split(b"\n")
        found += [(seconds, line[5:].strip()) for line in lines if line.startswith(b"data:")]
    return [(seconds, line) for seconds, line in found if line and line != b"[DONE]"]


class Started(Server):
    """Start a server and wait until it is ready."""

    def __init__(self, start: Start, port: int, health: str, log: Path, seconds: float) -> None:
        """Start the command of `start`; raises UserError with the last lines of its log where it does not get ready
        within `seconds`."""
        super().__init__(f"http://127.0.0.1:{port}")
        self._sessions: set[int] = set()
        self.log, self.start = log, start
        environment = {**os.environ, "PYTHONPATH": str(PACKAGE), **start.environment}
        guarded = [sys.executable, "-m", "longspec.core.guard", str(os.getpid()), *start.command]
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                guarded, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        try:
            self._wait(health, seconds)
        except BaseException:
            self.end()
            raise

    def _wait(self, health: str, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self.healthy(health):
            if self._process.poll() is not None:
                raise self._refusal(f"ended with status {self._process.returncode} before it was ready")
            if time.monotonic() > until:
                raise self._refusal(f"was not ready within {seconds:g} seconds")
            time.sleep(0.2)
        self._sessions = {os.getsid(process.pid) for process in self.processes()[1:]}
        if self._process.poll() is not None:  # another server answered at this port
            raise self._refusal(f"ended with status {self._process.returncode}, and its port is another's")

    def _refusal(self, what: str) -> UserError:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines() if self.log.is_file() else []
        last = " | ".join(line.strip() for line in lines if line.strip())[-LAST_CHARACTERS:]
        return UserError(
            str(self.log),
            redacted(f"the server {what}: {' '.join(self.start.command)}; it said: {last or 'nothing'}"),
            "a server that starts",
        )

    def alive(self) -> bool:
        """Tell if the server's process runs."""
        return self._process.poll() is None and super().alive()

    def processes(self) -> list[psutil.Process]:
        """List the guard and the server's processes."""
        with contextlib.suppress(psutil.NoSuchProcess):
            guarding = psutil.Process(self._process.pid)
            return [guarding, *guarding.children(recursive=True)]
        return []

    def end(self) -> None:
        """End the server, with all that it has started."""
        super().end()
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(3 * guard.SECONDS_TO_END)
        self._process.kill()
        self._process.wait()
        for session in self._sessions:  # nothing, unless the guard itself was killed
            guard.end_session(session)
