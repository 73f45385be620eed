"""Start: servers and proxies that don't run are started, servers guarded; no file is written, no role moves.

    pyinfra inventories/sandbox.py deploys/start.py -y

A guarded server is nobody's primary and nobody's replica, and read-only. Rejoin makes it a replica. On machines its
boot guard looks at it behind the start, and gives it its role if that is proved to be safe. On pods Kubernetes starts
what ends; whoever it lets wait is made anew at once (docs/kubernetes.md).
"""

from pyinfra import host, logger

from keydb_runbooks.operations import haproxy, keydb, pod_objects, pods_start, programs, scope

scope.refuse_mixture(host, "start")
for group in scope.groups(host):
    if pod_objects.are_pods(group):
        if scope.conducts(host, group):
            pods_start.started(name="Start the pods that wait", group=group)
        continue
    if node := group.node_of(host):
        started = keydb.running(name="Start the server, guarded", program=programs.server(node))
        if started.will_change:
            logger.info(f"    {node.name} starts guarded; run rejoin then, or failover without a primary")
    if proxy := group.proxy_of(host):
        haproxy.running(name="Start the proxy", program=programs.proxy(proxy))
