"""Edits of a YAML file that change the edited values and leave every other character, comments included.

Values are found by the positions that PyYAML notes of its nodes, so that nothing is written anew but what changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from i2v3d.config.yaml_files import yaml_reason
from i2v3d.errors import ConfigError

KeyPath = tuple[str | int, ...]
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's: the same positions in a tenth of the time
ROUND = 6  # digits behind the point: micrometres, and millionths of a degree


@dataclass(frozen=True)
class Edit:
    """One change. path: keys, and numbers of list entries from 0. kind: set a value, insert one before the entry that
    the path names, or delete that."""

    path: KeyPath
    value: Any
    kind: Literal["set", "insert", "delete"] = "set"


def edited(text: str, edits: Sequence[Edit], resolved: Any) -> str:
    """The text of a YAML mapping after edits, in order.

    resolved: what the file means with all that it inherits, as plain data: a list that the file lacks is copied from
    there before one of its entries changes. Raises ConfigError for a file with anchors, or that is no mapping, and
    for a value that would be evaluated.
    """
    for edit in edits:
        _check(edit.value)
        text = _edited(text, edit, resolved)
        resolved = applied(resolved, edit)
    return text


def applied(data: Any, edit: Edit) -> Any:
    """Plain data after an edit; what does not change is shared."""
    if not edit.path:
        return edit.value
    head, rest = edit.path[0], edit.path[1:]
    if isinstance(data, list):
        assert isinstance(head, int), edit.path
        if rest or edit.kind == "set":
            return [*data[:head], applied(data[head], Edit(rest, edit.value, edit.kind)), *data[head + 1 :]]
        if edit.kind == "insert":
            return [*data[:head], edit.value, *data[head:]]
        return [*data[:head], *data[head + 1 :]]
    found = dict(data or {})
    found[str(head)] = (
        applied(found.get(str(head)), Edit(rest, edit.value, edit.kind)) if rest else edit.value
    )
    return found


def flow(value: Any) -> str:
    """A value in one line of YAML."""
    text: str = yaml.safe_dump(
        _rounded(value), default_flow_style=True, width=10**9, sort_keys=False, allow_unicode=True
    )
    return text.removesuffix("...\n").strip()


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        short = round(value, ROUND)
        return int(short) if short.is_integer() else short  # as a hand writes it: keys tell 2.0 from 2
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(entry) for entry in value]
    return value


def _check(value: Any) -> None:
    """Raises ConfigError for text that Hydra would evaluate: it may come from a page."""
    if isinstance(value, str) and "${" in value:
        raise ConfigError(f"{value[:60]!r} holds '${{', which would be evaluated; write the value itself")
    for entry in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    ):
        _check(entry)


# ---------------------------------------------------------------- positions
def _compose(text: str) -> yaml.MappingNode:
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, LOADER)):
            raise ConfigError(
                "the scene's file has anchors (&, *), which the studio cannot edit; write them out"
            )
        root = yaml.compose(text, LOADER)
    except yaml.YAMLError as error:
        raise ConfigError(f"the scene's file is no YAML ({yaml_reason(error)}); correct it") from error
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError("the scene's file is no mapping of options; restore it")
    return root


def _edited(text: str, edit: Edit, resolved: Any) -> str:
    root = _compose(text)
    parent: Any = root
    for depth, part in enumerate(edit.path[:-1], start=1):
        child = _child(parent, part)
        if child is None or isinstance(child, yaml.ScalarNode):  # not in this file, or null
            rest = Edit(edit.path[depth:], edit.value, edit.kind)
            return _put(text, parent, part, _needed(_at(resolved, edit.path[:depth]), rest))
        parent = child
    last = edit.path[-1]
    if edit.kind == "set":
        return _put(text, parent, last, edit.value)
    assert isinstance(parent, yaml.SequenceNode) and isinstance(last, int), edit.path
    return _insert(text, parent, last, edit.value) if edit.kind == "insert" else _delete(text, parent, last)


def _needed(data: Any, edit: Edit) -> Any:
    """What a file must hold for an edit below something that it lacks: lists as a whole, of mappings the entry."""
    if edit.path and isinstance(edit.path[0], str):
        below = (data or {}).get(edit.path[0])
        return {edit.path[0]: _needed(below, Edit(edit.path[1:], edit.value, edit.kind))}
    return applied(data, edit)


def _at(data: Any, path: KeyPath) -> Any:
    for part in path:
        data = data[int(part)] if isinstance(data, list) else (data or {}).get(part)
    return data


def _child(node: Any, part: str | int) -> Any:
    """The node of an entry of a mapping or list; None if a mapping lacks it."""
    if isinstance(node, yaml.SequenceNode):
        return node.value[part]
    return next((value for key, value in node.value if key.value == part), None)


def _end(node: Any) -> int:
    """Where the last character of a node ends: block collections claim the comments behind them, too."""
    if isinstance(node, yaml.ScalarNode) or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    return _end(last[1] if isinstance(node, yaml.MappingNode) else last)


def _put(text: str, parent: Any, part: str | int, value: Any) -> str:
    """Sets an entry of a mapping or list, which may be missing in a mapping."""
    node = _child(parent, part)
    if node is not None:
        start, end = node.start_mark.index, _end(node)
        blank = " " if start and not text[start - 1].isspace() and text[start - 1] not in "[{(" else ""
        return text[:start] + blank + flow(value) + text[end:]
    if parent.flow_style:
        close = parent.end_mark.index - 1
        comma = ", " if parent.value else ""
        return f"{text[:close]}{comma}{part}: {flow(value)}{text[close:]}"
    indent = " " * parent.value[0][0].start_mark.column
    return _after(text, _end(parent), f"{indent}{part}: {flow(value)}")


def _after(text: str, position: int, line: str) -> str:
    """A new line behind the one that holds a position."""
    end = text.find("\n", position)
    end = len(text) if end < 0 else end
    return f"{text[:end]}\n{line}{text[end:] or chr(10)}"


def _insert(text: str, node: yaml.SequenceNode, index: int, value: Any) -> str:
    if node.flow_style:
        items = [text[item.start_mark.index : _end(item)] for item in node.value]
        return _rewritten(text, node, [*items[:index], flow(value), *items[index:]])
    indent = " " * node.start_mark.column
    line = f"{indent}- {flow(value)}"
    if index:
        return _after(text, _end(node.value[index - 1]), line)
    start = node.start_mark.index - node.start_mark.column
    return f"{text[:start]}{line}\n{text[start:]}"


def _delete(text: str, node: yaml.SequenceNode, index: int) -> str:
    if node.flow_style:
        items = [text[item.start_mark.index : _end(item)] for item in node.value]
        return _rewritten(text, node, items[:index] + items[index + 1 :])
    if len(node.value) == 1:
        start, end = node.start_mark.index, _end(node)
        return f"{text[:start]}[]{text[end:]}"
    start = _line_start(text, node.value[index])
    last = index == len(node.value) - 1
    stop = text.find("\n", _end(node.value[index])) + 1 if last else _line_start(text, node.value[index + 1])
    return text[:start] + (text[stop:] if stop else "")


def _line_start(text: str, node: yaml.Node) -> int:
    return text.rfind("\n", 0, node.start_mark.index) + 1


def _rewritten(text: str, node: yaml.SequenceNode, items: Sequence[str]) -> str:
    """A flow list of other entries."""
    return f"{text[: node.start_mark.index]}[{', '.join(items)}]{text[node.end_mark.index :]}"
