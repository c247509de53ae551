"""Writing files that appear whole or not at all.

It does not know what is in them.
"""

from __future__ import annotations

from pathlib import Path


def write_whole(texts: dict[Path, str]) -> None:
    """Write each text to its place by renaming: no place is named before all texts are on the disk."""
    unfinished = {place: place.with_name(place.name + ".unfinished") for place in texts}
    try:
        for place, text in texts.items():
            unfinished[place].write_text(text, encoding="utf-8")
        for place in texts:
            unfinished[place].replace(place)
    finally:
        for place in texts:
            unfinished[place].unlink(missing_ok=True)
