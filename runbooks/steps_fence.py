"""The acts of fence, unfence and demote, as ``steps`` has those of the other verbs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from keydb_runbooks.runbooks.fencing import kept_name
from keydb_runbooks.runbooks.replication import ClientUser
from keydb_runbooks.runbooks.steps import SAVE, Command, Step

SAVE_USERS: Command = ("ACL", "SAVE")
"""Saves users that have a file of their own, which CONFIG REWRITE doesn't."""

RULES_OF_ITS_OWN = "<its rules>"
RULES_FROM_BEFORE = "<its rules from before>"
RULES_OF_THE_INVENTORY = "<password and rules>"


@dataclass(frozen=True)
class Fence(Step):
    """Take writes and scripts from users, and save that. Rules that the inventory doesn't know are kept beside them."""

    users: tuple[ClientUser, ...]
    acl_file: bool

    @property
    def commands(self) -> tuple[Command, ...]:
        return (*self._set(), SAVE_USERS if self.acl_file else SAVE)

    def _set(self) -> Iterator[Command]:
        for user in self.users:
            if not user.known and not user.kept:
                yield ("ACL", "SETUSER", kept_name(user), "reset", "off", RULES_OF_ITS_OWN)
            yield ("ACL", "SETUSER", user.name, *user.fence)

    @property
    def sentence(self) -> str:
        names = " and ".join(user.name for user in self.users)
        return f"take writes and scripts from {names}, and save that" if names else "save the users as they are"


@dataclass(frozen=True)
class Unfence(Step):
    """Give users their rights back: the inventory's, or those that were kept; and save that."""

    users: tuple[ClientUser, ...]
    acl_file: bool

    @property
    def commands(self) -> tuple[Command, ...]:
        return (*self._set(), SAVE_USERS if self.acl_file else SAVE)

    def _set(self) -> Iterator[Command]:
        for user in self.users:
            if user.known:
                yield ("ACL", "SETUSER", user.name, "reset", "on", RULES_OF_THE_INVENTORY)
            else:
                yield ("ACL", "SETUSER", user.name, "reset", RULES_FROM_BEFORE)
                yield ("ACL", "DELUSER", kept_name(user))

    @property
    def sentence(self) -> str:
        names = " and ".join(user.name for user in self.users)
        return f"give {names} their rights back, and save that" if names else "save the users as they are"


@dataclass(frozen=True)
class TryWrites(Step):
    """Log in as the application and ask for a write and a script behind MULTI, where nothing of it is executed."""

    permitted: bool

    changes: ClassVar[bool] = False

    @property
    def commands(self) -> tuple[Command, ...]:
        return (("MULTI",), ("SET", "runbook:verify", ""), ("EVAL", "return 1", "0"))

    @property
    def sentence(self) -> str:
        return f"the application {'may' if self.permitted else 'may not'} write"
