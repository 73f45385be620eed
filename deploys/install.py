"""Install: servers, proxies and their configuration; a group that never had a primary gets its first one.

    pyinfra inventories/sandbox.py deploys/install.py

Running it again changes nothing, and it never moves a role: after a failover the servers know
better than the inventory who is primary. Servers that somebody else installed are taken over as they are, if the
inventory says so (docs/adopt.md). On machines systemd keeps what was installed (docs/fleet.md), on pods
Kubernetes does (docs/kubernetes.md):

    pyinfra inventories/kubernetes.py deploys/install.py --dry

--data force_conflicts=yes   on pods: take over what somebody else owns of these objects; which fields, it said before
--data accept_split=yes      on pods: found a group although servers of pods that are gone may run on
"""

from pyinfra import host

from keydb_runbooks.operations import adopting, archives, asked, installing, pod_objects, runbook, scope

scope.refuse_mixture(host, "install")
scope.refuse_rotation(host, "install")
adopting.refuse(host)
archives.refuse(host)
accept_split = asked.yes_or_no(host, "accept_split")
for group in scope.groups(host):
    if pod_objects.are_pods(group):
        installing.pod(host, group)
    else:
        if node := group.node_of(host):
            installing.server(node)
        if proxy := group.proxy_of(host):
            installing.proxy(proxy)
    if scope.conducts(host, group):
        scope.advise(group)
        runbook.found(name=f"Give {group.name} a first primary, once", group=group, accept_split=accept_split)
