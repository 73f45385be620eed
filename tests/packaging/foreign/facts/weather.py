"""A fact of somebody else."""

from pyinfra.api import FactBase


class Weather(FactBase[str]):
    """Returns what the weather is like."""

    def command(self) -> str:
        return "echo rain"

    def process(self, output: list[str]) -> str:
        return output[0]
