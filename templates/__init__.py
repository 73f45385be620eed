"""Jinja2 templates of configuration files, and what renders them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from keydb_runbooks.runbooks.configuration import quote


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("keydb_runbooks.templates", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - configuration files, not HTML
    )
    environment.filters["one_line"] = _one_line
    environment.filters["quoted"] = quote
    environment.filters["shell_quoted"] = shlex.quote
    environment.filters["unit_path"] = _unit_path
    environment.filters["unit_quoted"] = lambda text: _unit_quoted(_unit_path(text))
    environment.filters["unit_command"] = lambda text: _unit_quoted(_unit_path(text).replace("$", "$$"))
    environment.filters["json"] = json.dumps
    environment.filters["base64"] = lambda text: base64.b64encode(text.encode()).decode()
    environment.filters["sha256"] = lambda text: hashlib.sha256(text.encode()).hexdigest()
    return environment


def _one_line(value: Any) -> str:
    """A value as it is; one with a line break would be a directive of its own."""
    text = str(value)
    if "\n" in text or "\r" in text:
        raise ValueError(f"{text!r} must be one line")
    return text


def _unit_path(text: str) -> str:
    """A path where a unit takes it to the end of the line; ``%`` begins a specifier there."""
    return _one_line(text).replace("%", "%%")


def _unit_quoted(text: str) -> str:
    """One word of several in a unit, as systemd.syntax has it."""
    if re.fullmatch(r"[A-Za-z0-9_.:@/+=-]+", text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def plain(name: str) -> str:
    """A file of this folder, or of one in it, that is the same for everybody."""
    return files("keydb_runbooks.templates").joinpath(name).read_text(encoding="utf-8")


def render(template: str, **values: Any) -> str:
    """Render a template of this folder; an unknown name in it is an error, never an empty text."""
    return _environment().get_template(template).render(**values)
