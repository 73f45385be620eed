"""Install: servers, proxies and their configuration; a group that never had a primary gets its first one.

    pyinfra inventories/sandbox.py deploys/install.py

Running it again changes nothing, and it never moves a role: after a failover the servers know
better than the inventory who is primary.
"""

from pyinfra import host
from pyinfra.operations import files

from keydb_runbooks.operations import haproxy, keydb, programs, runbook

for group in runbook.groups(host):
    if node := group.node_of(host):
        server = programs.server(node)
        directories = ("keydb_config_directory", "keydb_data_directory")
        for path in dict.fromkeys(node.data(key) for key in directories):
            files.directory(name="Make a directory for the server", path=path, mode="700")
        keydb.configuration(name="Configure the server", program=server)
        keydb.credentials(name="Let facts log in")
        keydb.running(name="Start the server, guarded", program=server)

    if proxy := group.proxy_of(host):
        program = programs.proxy(proxy)
        files.directory(
            name="Make a directory for the proxy", path=proxy.data("haproxy_config_directory"), mode="700"
        )
        haproxy.configuration(name="Configure the proxy", program=program)
        haproxy.running(name="Start the proxy", program=program)

    if runbook.conducts(host, group):
        runbook.found(name=f"Give {group.name} its first primary, if it never had one", group=group)
