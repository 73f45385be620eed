"""An operation of somebody else."""

from collections.abc import Generator

from pyinfra.api import operation


@operation(is_idempotent=False)
def opened() -> Generator[str, None, None]:
    """Open the umbrella."""
    yield "touch umbrella"
