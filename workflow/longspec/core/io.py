"""Writes files so that each appears complete or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(texts: dict[Path, str]) -> None:
    """Write files under temporary names, and rename them once all are on the disk."""
    unfinished = {place: place.with_name(place.name + ".unfinished") for place in texts}
    try:
        for place, text in texts.items():
            with unfinished[place].open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        for place in texts:
            unfinished[place].replace(place)
    except OSError as error:
        error.filename = error.filename or str(place)
        raise
    finally:
        for place in texts:
            unfinished[place].unlink(missing_ok=True)
