"""Somebody else's deploy: folders named facts/ and operations/ of its own, beside this project's."""

from facts.weather import Weather
from operations import umbrella
from pyinfra import host
from pyinfra.operations import files

from keydb_runbooks.facts.keydb import KeydbProcess
from keydb_runbooks.operations import keydb

if host.get_fact(Weather) == "rain":
    umbrella.opened(name="Open the umbrella")
if not host.get_fact(KeydbProcess, pid_file="/nonexistent"):
    files.directory(name="Make a directory", path=host.data.keydb_config_directory, mode="700")
    keydb.credentials(name="Let facts log in")
