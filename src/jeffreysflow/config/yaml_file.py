"""YAML files, read strictly: no key twice, no more than a configuration can hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from jeffreysflow.config.plain import EXPONENT
from jeffreysflow.errors import UserError, shown

__all__ = ["read_yaml"]

_MOST_VALUES = 100_000
_MOST_BYTES = 4 << 20


class _Loader(yaml.SafeLoader):
    """YAML 1.1, with `1e3` for a number as in YAML 1.2."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(f"{EXPONENT.pattern}$"), list("-+.0123456789")
)


def read_yaml(file: Path) -> dict[str, Any]:
    """The keys and values of a file.

    Raises
    ------
    UserError : there is none, it is no YAML, a key is there twice, it is nested too deeply, its
        aliases make too much of it, or it holds no keys.
    """
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise UserError(f"{file}: larger than {_MOST_BYTES >> 20} MiB, not a configuration")
        content = _content(file, file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not a text file in UTF-8") from error
    except RecursionError as error:
        raise UserError(f"{file}: nested too deeply") from error
    except yaml.YAMLError as error:
        raise UserError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from error
    except ValueError as error:
        raise UserError(f"{file}: a value that is none in YAML: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{file}: must hold keys and values, found {shown(content)}")
    return content


def _content(file: Path, text: str) -> Any:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        sizes: dict[int, int] = {}
        if _size(file, node, sizes) > _MOST_VALUES:
            raise UserError(f"{file}: more than {_MOST_VALUES} values, aliases included")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _size(file: Path, node: yaml.Node, sizes: dict[int, int]) -> int:
    """Values in a node, those of its aliases each time; its keys are checked on the way."""
    if id(node) in sizes:
        if sizes[id(node)] < 0:
            raise UserError(f"{file}: line {_line(node)}: an alias inside of what it stands for")
        return sizes[id(node)]
    sizes[id(node)] = -1
    below: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        _check_keys(file, node)
        below = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        below = node.value
    elif isinstance(node, yaml.ScalarNode):
        _check_number(file, node)
    sizes[id(node)] = 1 + sum(_size(file, part, sizes) for part in below)
    return sizes[id(node)]


def _check_number(file: Path, node: yaml.ScalarNode) -> None:
    """YAML 1.1 reads `010` as 8, and `1:30` as 90."""
    number = node.tag.rpartition(":")[2] in ("int", "float") and not node.style
    if number and (":" in node.value or re.match(r"[-+]?0[0-9_]", node.value)):
        raise UserError(
            f"{file}: line {_line(node)}: {node.value} is another number in YAML, of base "
            f"{60 if ':' in node.value else 8}; write it without "
            f"{'colons' if ':' in node.value else 'leading zeros'}, or in quotes where it is a word"
        )


def _check_keys(file: Path, node: yaml.MappingNode) -> None:
    first: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise UserError(f"{file}: line {_line(key)}: a key must be a word or a number")
        same = (key.tag, key.value)
        if same in first:
            raise UserError(
                f"{file}: line {_line(key)}: key {shown(key.value)} is there twice, first in line "
                f"{first[same]}; leave one of them out"
            )
        first[same] = _line(key)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
