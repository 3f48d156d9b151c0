"""How a configuration section is made, built from plain data, and turned back into it.

A section is a frozen dataclass without defaults. `build` refuses unknown keys, missing keys and values of another
type or out of range, and says which option it is and what was expected. A section with subclasses is one of
them: the one whose `source` the data name.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, TypeVar, cast, dataclass_transform, get_args, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from i2v3d.errors import ConfigError, nearest

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def section(cls: type[T]) -> type[T]:
    """Makes a class a frozen section that refuses unknown keys and numbers that are not finite."""
    made = dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))(cls)
    return cast(type[T], made)


def build(cls: type[T], data: Mapping[str, Any], where: str) -> T:
    """Builds a section from plain data (what YAML or JSON holds).

    Raises ConfigError naming the first wrong key as `where.key`, what it holds and what was expected;
    unknown keys come first, with the nearest known names. Of a section with subclasses, builds the one that
    the key `source` names.
    """
    cls = _of_source(cls, data, where)
    try:
        return TypeAdapter(cls).validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        errors = sorted(error.errors(), key=lambda e: e["type"] != "unexpected_keyword_argument")
        first = errors[0]
        parts, inner = _followed(cls, first["loc"])
        path = ".".join([where, *parts])
        if first["type"] == "unexpected_keyword_argument":
            known = {f.name for f in dataclasses.fields(inner)} if dataclasses.is_dataclass(inner) else set()
            message = f"{path} is not an option; {nearest(parts[-1], known)}"
        elif first["type"] in ("missing", "missing_argument"):
            message = f"{path} is missing; add it to the configuration"
        elif first["type"] == "union_tag_invalid":
            message = f"{path}.family is {first['ctx']['tag']!r}; expected {first['ctx']['expected_tags']}"
        elif first["type"] == "union_tag_not_found":
            message = f"{path}.family is missing; add it to the configuration"
        else:
            expected = first["msg"][0].lower() + first["msg"][1:]
            message = f"{path} is {json.dumps(first['input'])[:80]}; {expected}"
        raise ConfigError(message) from error


def plain(section: object) -> dict[str, Any]:
    """A section as plain data, the inverse of `build`."""
    data: dict[str, Any] = TypeAdapter(type(section)).dump_python(section, mode="json")
    return data


def _of_source(cls: type[T], data: Mapping[str, Any], where: str) -> type[T]:
    """The subclass whose field `source` is the literal that `data` hold; `cls` itself if it has none.

    Raises ConfigError if `source` is missing or none of theirs.
    """
    choices = {get_args(get_type_hints(sub)["source"])[0]: sub for sub in cls.__subclasses__()}
    if not choices:
        return cls
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where} is {str(data)[:80]!r}; expected options, such as source")
    if "source" not in data:
        raise ConfigError(f"{where}.source is missing; expected {' or '.join(sorted(choices))}")
    source = data["source"]
    if not isinstance(source, str) or source not in choices:
        raise ConfigError(f"{where}.source is {source!r}; {nearest(str(source), choices)}")
    return choices[source]


def _followed(cls: Any, loc: tuple[int | str, ...]) -> tuple[list[str], Any]:
    """The option that pydantic's `loc` means in section `cls`, and the section that holds it (None: not a section).

    Of sections that one field may hold, pydantic names the one that it took by its `family`, which is no option.
    """
    path: list[str] = []
    holder, inside = cls, [cls]
    for part in loc:
        if len(inside) > 1:
            inside = [one for one in inside if get_args(get_type_hints(one)["family"]) == (part,)]
            continue
        path.append(str(part) if str(part).isprintable() else ascii(part))
        if isinstance(part, str):
            holder = inside[0] if inside else None
            inside = _sections_in(get_type_hints(holder).get(part)) if holder is not None else []
    return path, holder


def _sections_in(annotation: Any) -> list[Any]:
    """The section classes inside an annotation such as tuple[Section, ...] or Section | None."""
    if dataclasses.is_dataclass(annotation):
        return [annotation]
    return [section for argument in get_args(annotation) for section in _sections_in(argument)]
