"""Commands for systemd, with what they say when a unit doesn't do as it is told."""

from __future__ import annotations

from pyinfra.api import StringCommand

from keydb_runbooks.connectors.shell import script

# $1 is what to do, $2 the unit. One that crashed too often is given a new chance by whoever starts it on purpose. What
# systemd says of a failure is its own line and the end of the unit's journal; neither has anything of a file in it.
ACT = """
systemctl reset-failed "$2" 2>/dev/null
systemctl "$1" "$2" && exit
echo "systemctl $1 $2 failed; what it said last (journalctl -u $2 has the rest):" >&2
journalctl --no-pager --quiet --output=cat --lines=8 --unit="$2" >&2
exit 1
"""

# $1 the unit. What it has enabled is told to systemd by the same command.
ENABLE = 'systemctl daemon-reload && systemctl enable --quiet "$1"'

DISABLE = """
for unit; do
    systemctl disable --quiet --now "$unit" 2>/dev/null
    systemctl is-active --quiet "$unit" && { echo "$unit does not stop; look at journalctl -u $unit" >&2; exit 1; }
done
exit 0
"""


def start(unit: str) -> StringCommand:
    """Start a unit, and wait until systemd calls it started."""
    return script(ACT, "start", unit)


def restart(unit: str) -> StringCommand:
    """End a unit's process in order and start another one, and wait until systemd calls it started."""
    return script(ACT, "restart", unit)


def reload(unit: str) -> StringCommand:
    """Let a unit's process read its files again."""
    return script(ACT, "reload", unit)


def reload_or_start(unit: str) -> StringCommand:
    """Let a unit read its files again, or start it if it is not started."""
    return script(ACT, "reload-or-restart", unit)


def enable(unit: str) -> StringCommand:
    """Let systemd read its units' files, and start this one with the machine from now on."""
    return script(ENABLE, unit)


def disable(*units: str) -> StringCommand:
    """End units' processes, and start them with the machine no more; those that systemd doesn't know are left out."""
    return script(DISABLE, *units)


def reread() -> StringCommand:
    """Let systemd read its units' files; what runs goes on."""
    return StringCommand("systemctl", "daemon-reload")
