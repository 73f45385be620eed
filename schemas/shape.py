"""What the schema says of one host, in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator, TypeChecker
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from keydb_runbooks.runbooks.configuration import SECRET_DIRECTIVES
from keydb_runbooks.schemas.document import PREFIXES, SECRETS, known_keys, schema
from keydb_runbooks.schemas.nearest import did_you_mean, meant_key

Errors = Iterator[tuple[str, str]]
"""Keys and what is wrong with each."""

LISTED = "docs/inventory.md lists them"


def check_shape(part: str, data: Mapping[str, Any]) -> Errors:
    """Check one host's data against a part of the schema, ``node`` or ``proxy``."""
    validator = _Validator({"$ref": f"#/$defs/{part}", "$defs": schema()["$defs"]})
    own = {key: value for key, value in data.items() if str(key).startswith(PREFIXES)}
    for error in sorted(validator.iter_errors(own), key=lambda error: list(map(str, error.path))):
        yield from _sentences(error)
    for key in data:
        if key not in own and (meant := meant_key(str(key), known_keys())):
            yield str(key), f"is not a key that is known; did you mean {meant}? {LISTED}"


def _is_whole(_: TypeChecker, value: object) -> bool:
    """JSON Schema takes 6379.0 for a whole number, keydb.conf doesn't."""
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(checker: TypeChecker, value: object) -> bool:
    return _is_whole(checker, value) or (isinstance(value, float) and math.isfinite(value))


_types = Draft202012Validator.TYPE_CHECKER.redefine_many({"integer": _is_whole, "number": _is_number})
_Validator = extend(Draft202012Validator, type_checker=_types)  # type: ignore[no-untyped-call]


def _sentences(error: ValidationError) -> Errors:
    path, part = [str(key) for key in error.absolute_path], _part(error)
    if error.validator == "additionalProperties":
        allowed = part.get("properties", {})
        given = set(map(str, _instance(error))) - set(allowed)
        for key in sorted(given - set(known_keys()) if not path else given):
            meant = did_you_mean(key, [*allowed, *(() if path else known_keys())])
            listed = f"allowed are {', '.join(allowed)}" if path else LISTED
            yield ".".join([*path, key]), f"is not a key that is known{meant or ';'} {listed}"
    elif error.validator == "required":
        missing = [key for key in part["required"] if key not in _instance(error)]
        for key in missing:
            if error.message.startswith(repr(key)):
                yield ".".join([*path, key]), "is missing" + _description(part["properties"].get(key, {}))
    else:
        yield ".".join(path), _wrong_value(error, path)


def _part(error: ValidationError) -> Mapping[str, Any]:
    """The part of the schema that was violated."""
    return error.schema if isinstance(error.schema, Mapping) else {}


def _instance(error: ValidationError) -> Mapping[str, Any]:
    """The dictionary that was checked."""
    return error.instance if isinstance(error.instance, Mapping) else {}


def _wrong_value(error: ValidationError, path: list[str]) -> str:
    part = _part(error)
    # A rejected secret is never repeated.
    shown = "its value" if _is_secret(error, path) else repr(error.instance)
    if "enum" in part:
        allowed = list(map(str, part["enum"]))
        return f"{shown} is wrong{did_you_mean(error.instance, allowed) or ';'} allowed are {', '.join(allowed)}"
    return f"{shown} is wrong; allowed is {part.get('x-allowed', 'something else')}"


def _is_secret(error: ValidationError, path: list[str]) -> bool:
    if path[:1] == [SECRETS]:
        return path[-1] != "name" or not isinstance(error.instance, str)
    if path[:1] == ["keydb_settings"]:
        names_a_directive = "propertyNames" in error.absolute_schema_path
        return not names_a_directive and (len(path) == 1 or path[1] in SECRET_DIRECTIVES)
    return False


def _description(part: Mapping[str, Any]) -> str:
    text = part.get("description")
    return f": {text}" if text else ""
