"""A full resync as it is waited for: how far it is, how fast it goes on, and whether it got further."""

from __future__ import annotations

from keydb_runbooks.operations.waits import Pace
from keydb_runbooks.runbooks.replication import read_info
from keydb_runbooks.runbooks.resync import Phase, Progress, Resync, read_resync


class Watch:
    """A full resync, look by look; ``now`` is None while none is under way."""

    def __init__(self, primary: str) -> None:
        self.now: Resync | None = None
        self.further = False
        self._progress = Progress()
        self._pace = Pace("")
        self._told = {
            Phase.WRITES: f"{primary} writes its data",
            Phase.COMES: f"it gets the data of {primary}",
            Phase.LOADS: f"it loads the data of {primary}",
        }

    def see(self, replica: str, primary: str) -> None:
        """Note what INFO of both says."""
        seen = read_resync(read_info(replica), read_info(primary))
        progress = self._progress.see(seen)
        self.further, self._progress = progress.further(self._progress), progress
        if seen is not None:
            if self.now is None or self.now.phase is not seen.phase or seen.done < self.now.done:
                self._pace = Pace(seen.unit)
            self._pace.see(seen.done, seen.total)
        self.now = seen

    def __str__(self) -> str:
        if self.now is None:
            return "no full resync is under way"
        share = "" if self.now.share is None else f"; {self.now.share} % of the keys are sent"
        often = f"; it began {self._progress.begun} times" if self._progress.exhausted else ""
        return f"full resync: {self._told[self.now.phase]}: {self._pace}{share}{often}"
