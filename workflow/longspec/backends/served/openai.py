"""A server that runs already, read as the engine that it is: nothing is started."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from typing import Any

from longspec.backends.served import llamacpp, sglang, vllm  # by name, so that a job's version has their code
from longspec.backends.served._interface import Engine
from longspec.core.errors import UserError

OPTIONS: dict[str, Any] = {
    "url": {
        "type": "string",
        "pattern": "^https?://[^/]+$",
        "description": "Address of the server, as in http://127.0.0.1:8000. A variant without `speculation` and the "
        "same engine is the baseline, at an address of its own.",
    },
    "engine": {
        "type": "string",
        "enum": ["llamacpp", "sglang", "vllm"],
        "description": "The engine that answers there; docs/engines.md has the flags that it must be started with.",
    },
}


def make(
    program: str | None,
    speculation: Mapping[str, Any] | None,
    arguments: list[str],
    environment: Mapping[str, str],
    url: str,
    engine: str,
) -> Engine:
    """Make the reading of a running server. Raises UserError where it is told how to start, or does not know how its
    engine speculates."""
    for option, given in {"program": program, "arguments": arguments, "environment": environment}.items():
        if given:
            raise UserError(option, repr(given), "none, as the server runs already")
    here = shlex.quote(sys.executable)  # any program that is there: it is not started
    if engine == "llamacpp":
        made: llamacpp.LlamaCpp | sglang.SGLang | vllm.VLLM = llamacpp.make(here, speculation, [], {}, None, None)
    else:
        made = (vllm if engine == "vllm" else sglang).make(here, speculation, [], {})
    made.url = url
    return made
