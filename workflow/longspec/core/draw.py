"""Pseudorandom draws that are a function of names alone, so that one configuration gives one order everywhere."""

from __future__ import annotations

import hashlib
from typing import Any


def draw(*named: Any) -> bytes:
    """Hash names to 32 bytes, which sort as a random draw."""
    return hashlib.sha256(" ".join(map(str, named)).encode()).digest()
