"""A server ends with the process that needs it, however that ends, and one that does not start says why."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest
from refusals import refused

from longspec.backends import server
from longspec.backends.served._interface import Start

FAMILY = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); {}"
"""A program that has started another one, as engines do."""
SERVES = (
    "import http.server as h, sys; "
    "h.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), h.SimpleHTTPRequestHandler).serve_forever()"
)


def started(tmp_path, code, seconds=20.0, port=None):
    port = port or server.free_port()
    command = [sys.executable, "-c", code, str(port)]
    return server.Started(Start(command, []), port, "/", tmp_path / "server.log", seconds)


def family(root: int) -> list[psutil.Process]:
    """The processes below one, once there are three: guard, program, and the program's own child."""
    for _ in range(200):
        found = psutil.Process(root).children(recursive=True)
        if len(found) >= 3:
            return found
        time.sleep(0.05)
    raise AssertionError(found)


@pytest.fixture
def needing():
    """A process that starts a guarded family and waits."""
    code = (
        "import os, subprocess, sys, time; "
        "subprocess.Popen([sys.executable, '-m', 'longspec.core.guard', str(os.getpid()), sys.executable, '-c', "
        f"{FAMILY.format('time.sleep(600)')!r}]); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_all_that_a_server_started_ends_with_the_process_that_needs_it(needing, how):
    below = family(needing.pid)
    needing.send_signal(how)
    _, alive = psutil.wait_procs(below, 20)
    assert not alive


def test_where_the_guard_is_killed_the_program_is_too(needing):
    guard, program, child = family(needing.pid)
    guard.kill()
    _, alive = psutil.wait_procs([program], 20)
    assert not alive
    child.kill()


def test_a_server_is_asked_and_ended_with_its_children(tmp_path):
    running = started(tmp_path, FAMILY.format(SERVES))
    assert running.alive()
    assert running.healthy("/")
    below = running.processes()
    assert len(below) == 3
    running.end()
    _, alive = psutil.wait_procs(below, 5)
    assert not alive


def test_what_a_guard_that_was_killed_leaves_is_ended_by_who_started_it(tmp_path):
    running = started(tmp_path, FAMILY.format(SERVES))
    guarding, *below = running.processes()
    guarding.kill()
    running.end()
    assert len(below) == 2
    assert not [process for process in below if process.is_running()]


def test_a_server_that_ends_at_once_is_refused_with_what_it_said(tmp_path):
    with refused(str(tmp_path / "server.log"), ("status 1", "no such model"), "a server that starts"):
        started(tmp_path, "raise SystemExit('no such model')")


def test_a_server_that_does_not_get_ready_is_ended_and_refused(tmp_path):
    with refused(str(tmp_path / "server.log"), "within 2 seconds", "a server that starts"):
        started(tmp_path, "import time; time.sleep(600)", seconds=2)
    assert not [p for p in psutil.Process().children(recursive=True) if "longspec.core.guard" in p.cmdline()]


def test_a_port_that_another_server_has_taken_is_refused(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with refused(str(tmp_path / "server.log"), "in use", "a server that starts"):
            started(tmp_path, SERVES, port=taken.getsockname()[1])


def test_a_server_that_dies_is_not_alive(tmp_path):
    running = started(tmp_path, SERVES)
    program = running.processes()[1]
    os.kill(program.pid, signal.SIGKILL)
    psutil.wait_procs([program], 5)
    for _ in range(100):
        if not running.alive():
            break
        time.sleep(0.05)
    assert not running.alive()
    running.end()


def test_events_have_the_time_at_which_they_were_whole():
    pieces = [(1.0, b'data: {"a"'), (2.0, b": 1}\n\nda"), (3.0, b'ta: {"b": 2}\n\ndata: [DONE]\n\n')]
    assert server.events(pieces) == [(2.0, b'{"a": 1}'), (3.0, b'{"b": 2}')]
