"""A script of the shell as a command: its arguments are ``$1``, ``$2`` and so on, whatever characters they have."""

from __future__ import annotations

from typing import Any

from pyinfra.api import QuoteString, StringCommand


def script(text: str, *arguments: str, **connector_arguments: Any) -> StringCommand:
    """A command that runs a script.

    :param text: is the same whatever is asked, so no argument can become a part of it
    :param connector_arguments: pyinfra's, as ``_stdin``
    """
    words = map(QuoteString, arguments)
    return StringCommand("sh", "-c", QuoteString(text), "sh", *words, **connector_arguments)
