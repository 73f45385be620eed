"""Writing a configuration file so that it is either the old one or the new one, checked, and never readable by others.

The content travels on standard input: in no argument, no diff and no file that others can read.
"""

from __future__ import annotations

from collections.abc import Iterator

from pyinfra.api import QuoteString, StringCommand

NEW = ".new"


def replace_file(path: str, content: str, check: StringCommand | None) -> Iterator[StringCommand]:
    """Commands that write ``PATH.new``, check it, keep the old file as ``PATH.previous`` and rename.

    :param check: a command that fails if ``PATH.new`` is no good; the old file stays then
    """
    yield StringCommand(
        "sh", "-c", QuoteString('umask 077 && cat > "$1" && sync "$1"'), "sh", QuoteString(path + NEW), _stdin=content
    )
    if check is not None:
        yield check
    script = 'if [ -e "$1" ]; then cp -p "$1" "$1.previous"; fi && mv "$1.new" "$1"'
    yield StringCommand("sh", "-c", QuoteString(script), "sh", QuoteString(path))
