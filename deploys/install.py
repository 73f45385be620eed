"""Install: servers, proxies and their configuration; a group that never had a primary gets its first one.

    pyinfra inventories/sandbox.py deploys/install.py

Running it again changes nothing, and it never moves a role: after a failover the servers know
better than the inventory who is primary.
"""

from pyinfra import host
from pyinfra.operations import files

from keydb_runbooks.operations import boot_guard, haproxy, keydb, programs, runbook

for group in runbook.groups(host):
    if node := group.node_of(host):
        server = programs.server(node)
        files.directory(name="Make the server's directory", path=node.data("keydb_config_directory"), mode="700")
        files.directory(name="Make the data's directory", path=node.data("keydb_data_directory"), mode="700")
        if node.data("keydb_tls_ca"):
            keydb.certificates(name="Give the server its certificate")
        keydb.configuration(name="Configure the server", program=server)
        keydb.credentials(name="Let facts log in")
        boot_guard.installed(name="Give the node its boot guard")
        keydb.running(name="Start the server, guarded", program=server)

    if proxy := group.proxy_of(host):
        program = programs.proxy(proxy)
        files.directory(name="Make the proxy's directory", path=proxy.data("haproxy_config_directory"), mode="700")
        if proxy.data("keydb_tls_ca"):
            haproxy.trusted_ca(name="Tell the proxy which CA to trust")
        haproxy.configuration(name="Configure the proxy", program=program)
        haproxy.running(name="Start the proxy", program=program)

    if runbook.conducts(host, group):
        runbook.advise(group)
        runbook.found(name=f"Give {group.name} its first primary, if it never had one", group=group)
