"""Install: servers, proxies and their configuration; a group that never had a primary gets its first one.

    pyinfra inventories/sandbox.py deploys/install.py

Running it again changes nothing, and it never moves a role: after a failover the servers know
better than the inventory who is primary. On machines systemd keeps what was installed (docs/fleet.md), on pods
Kubernetes does (docs/kubernetes.md):

    pyinfra inventories/kubernetes.py deploys/install.py --dry

--data force_conflicts=yes   on pods: take over what somebody else owns of these objects; which fields, it said before
"""

from pathlib import PurePosixPath

from pyinfra import host
from pyinfra.operations import files

from keydb_runbooks.operations import (
    boot_guard,
    haproxy,
    kernel,
    keydb,
    machine,
    owners,
    packages,
    pod_objects,
    pods,
    pods_image,
    pods_ready,
    programs,
    runbook,
    service,
    units,
)

runbook.refuse_mixture(host, "install")
for group in runbook.groups(host):
    on_pods = pod_objects.are_pods(group)
    if on_pods and runbook.conducts(host, group):
        wanted = pods.wanted(host, group)
        pods_image.tried(name="Try the image", group=group, wanted=wanted)
        pods.applied(name="Apply what the pods need", group=group, wanted=wanted)
        pods_ready.ready(name="Wait until the pods run", group=group)
    if on_pods:
        pods.configuration(name="Configure the pod's server")

    if (node := group.node_of(host)) and not on_pods:
        if node.data("keydb_package"):
            packages.server(name="Install the server's package")
        server = programs.server(node)
        config, data = node.data("keydb_config_directory"), node.data("keydb_data_directory")
        if user := owners.system_user(node):
            machine.system_user(name="Make the server's user", user=user, home=data)
            logs = str(PurePosixPath(node.data("keydb_log_file")).parent)
            files.directory(
                name="Make the log's directory", path=logs, **owners.as_arguments(owners.servers(node, "750"))
            )
        files.directory(
            name="Make the server's directory", path=config, **owners.as_arguments(owners.config_directory(node))
        )
        files.directory(name="Make the data's directory", path=data, **owners.as_arguments(owners.servers(node, "700")))
        if node.data("keydb_tls_ca"):
            keydb.certificates(name="Give the server its certificate")
        keydb.configuration(name="Configure the server", program=server)
        keydb.credentials(name="Let facts log in")
        boot_guard.installed(name="Give the node its boot guard")
        if service.has_systemd(node.host):
            units.server(name="Let systemd start the server", program=server)
            if node.data("keydb_kernel_settings"):
                kernel.settings(name="Let the kernel be as the server asks")
                kernel.advise(host)
        keydb.running(name="Start the server, guarded", program=server)

    if proxy := group.proxy_of(host):
        if proxy.data("haproxy_package"):
            packages.proxy(name="Install HAProxy's package")
        program = programs.proxy(proxy)
        config = proxy.data("haproxy_config_directory")
        if user := owners.system_user(proxy):
            machine.system_user(name="Make the proxy's user", user=user, home="/var/lib/haproxy")
        files.directory(
            name="Make the proxy's directory", path=config, **owners.as_arguments(owners.roots(proxy, "755"))
        )
        if proxy.data("keydb_tls_ca"):
            haproxy.trusted_ca(name="Tell the proxy which CA to trust")
        if service.has_systemd(proxy.host):
            # First: by it a running HAProxy is reloaded.
            units.proxy(name="Let systemd start the proxy", program=program)
        haproxy.configuration(name="Configure the proxy", program=program)
        haproxy.running(name="Start the proxy", program=program)

    if runbook.conducts(host, group):
        runbook.advise(group)
        runbook.found(name=f"Give {group.name} its first primary, if it never had one", group=group)
