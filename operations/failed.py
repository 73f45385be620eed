"""How an operation tells that it failed: one sentence, in red and wrapped for 80 columns."""

from __future__ import annotations

from pyinfra import logger
from pyinfra.api.host import Host
from pyinfra.api.state import State

from keydb_runbooks.operations.show import wrap


def failed(state: State, host: Host, sentence: str) -> bool:
    """Say why; False, which is what a command of an operation that failed returns."""
    for line in wrap(sentence, "", 2):
        host.log_styled(line, fg="red", log_func=logger.error)
    return False
