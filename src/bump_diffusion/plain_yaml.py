"""YAML as a user writes it: numbers, words, lists and mappings, and no more of the language."""

import re
from typing import Any

import yaml

_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}


def read_yaml(content: str | bytes) -> Any:
    """Read YAML of which every unquoted number is decimal: 010 is ten, 1e-3 a number, 1:30 a word.

    Raises ValueError, which says what is wrong and where, for what is not YAML, is nested deeply,
    or has aliases, by which a few lines can mean more than memory holds, tags, or a key twice.
    """
    depth = 0
    try:
        for event in yaml.parse(content, yaml.BaseLoader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > 50:
                raise ValueError(f"is nested too deeply {_line(event)}")
            if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None) is not None:
                raise ValueError(f"has an alias or a tag {_line(event)}")
        return _value(yaml.compose(content, yaml.BaseLoader))
    except yaml.MarkedYAMLError as error:
        raise ValueError(f"is not YAML at line {error.problem_mark.line + 1}") from None
    except yaml.YAMLError:
        raise ValueError("is not YAML") from None


def _line(where: Any) -> str:
    return f"at line {where.start_mark.line + 1}"


def _value(node: yaml.Node | None) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return [_value(item) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value in mapping:
                raise ValueError(f"has a key twice, or one that is not a word, {_line(key)}")
            mapping[key.value] = _value(value)
        return mapping
    if node is None or node.style is not None:  # quoted
        return node and node.value
    if not _NUMBER.fullmatch(node.value):
        return _WORDS.get(node.value, node.value)
    if len(node.value) > 100:
        raise ValueError(f"has a number of {len(node.value)} digits {_line(node)}")
    return int(node.value) if node.value.lstrip("+-").isdigit() else float(node.value)
