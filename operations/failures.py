"""How a step can fail, and being told to stop."""

from __future__ import annotations


class StepFailed(Exception):
    """A step could not be done; the text says what was seen, and where."""


class LeftBehind(StepFailed):
    """A step was done but for something that has to be mended; the rest of the run doesn't depend on that."""


class NotSaved(LeftBehind):
    """A step was done, but the server could not write it into its configuration file, which stays as it was."""


class TooLate(StepFailed):
    """A replica did not get what its primary has in the time that was given."""


class Stopped(StepFailed):
    """A signal told this program to stop."""
