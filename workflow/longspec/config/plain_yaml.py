"""Refuses configuration files that YAML's usual loaders would read otherwise than their author meant, and texts that
no program can be given. No torch.

Snakemake has read the file already when it is checked here. This module does not know what the keys mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from longspec.core.errors import UserError, one_line
from longspec.core.text import broken


class _UniqueKeys(yaml.SafeLoader):
    """Load safely, and refuse a mapping with the same key twice."""


def _unique_mapping(loader: _UniqueKeys, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue  # `<<: *anchor` is no key; what it brings may be overridden
        mark = key_node.start_mark
        where = f"{mark.name}, line {mark.line + 1}"
        if not isinstance(key_node, yaml.ScalarNode):
            raise UserError(where, "a list or mapping as a key", "a name")
        key = loader.construct_object(key_node)
        if key in seen:
            raise UserError(where, f"{key!r} stands twice", "each name once")
        seen.add(key)
    return loader.construct_mapping(node)


_UniqueKeys.add_constructor("tag:yaml.org,2002:map", _unique_mapping)


def check(file: Path) -> None:
    """Refuse a file, by its name and line, when it is not YAML, has a key twice, or asks for expressions to be run."""
    try:
        with file.open(encoding="utf-8") as stream:
            content = yaml.load(stream, _UniqueKeys)
        if isinstance(content, dict) and "__use_yte__" in content:
            raise UserError(str(file), "__use_yte__ has Snakemake run expressions in it", "plain YAML")
    except OSError as error:
        raise UserError(str(file), f"cannot be read ({error.strerror})", "a YAML file") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # also numbers of thousands of digits
        raise UserError(str(file), f"not YAML ({one_line(error)})", "a YAML file in UTF-8") from None


def check_texts(value: Any, where: str = "") -> None:
    """Refuse the first text that can be neither a file's name nor an argument of a program."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            check_texts(key, f"{where}.{key!r}".lstrip("."))
            check_texts(inner, f"{where}.{key}".lstrip("."))
    elif isinstance(value, str) and ("\0" in value or broken(value)):
        raise UserError(where or "config", repr(value), "text without null characters and lone surrogates")
