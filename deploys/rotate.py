"""Rotate: users get new passwords, and no write is dropped; old ones go on until you say that nobody needs them.

    pyinfra inventories/sandbox.py deploys/rotate.py

--data finish=yes         take the old passwords away at the end, when your clients have the new ones
--data allow_unread=NAME  a node or proxy that need not answer (several: NAME,NAME)
--data group=NAME         which group, if the inventory has several

The inventory has the new one as password and the old one as previous (docs/rotate.md). Killed at any moment it leaves
a group that takes both, or the old ones; running it again goes on. On pods the Secret changes too, and proxies are
made anew (docs/kubernetes.md).
"""

from pyinfra import host

from keydb_runbooks.operations import (
    boot_guard,
    haproxy,
    keydb,
    passwords,
    pod_objects,
    pods,
    pods_proxies,
    pods_rotation,
    programs,
    rotation,
    scope,
    together,
)
from keydb_runbooks.runbooks.rotate import Stage

scope.refuse_mixture(host, "rotate")
scope.refuse_adopted(host, "rotate")
group = scope.chosen_group(host)
on_pods = pod_objects.are_pods(group)
if on_pods:
    pods_rotation.refuse(host, group)
rotated = rotation.rotation(host, group)
taken, moved = together.behind(host, group, "taken"), together.behind(host, group, "moved")
node, proxy = group.node_of(host), group.proxy_of(host)
program = "" if node is None else programs.on_path(node) if on_pods else programs.server(node)

if node and rotated.both:
    keydb.configuration(name="Let servers take both passwords", program=program, stage=Stage.BOTH, strict=True)
# These two on every host, so that none of them goes on before it is over.
if node or proxy:
    rotation.proved(name="See that servers take the new ones", group=group, what="taken")
if node:
    stage = rotated.moved
    keydb.configuration(name="Let replicas use the new one", program=program, stage=stage, strict=True, _if=taken)
if node and on_pods:
    pods.logins(name="Let guards and probes use new ones", _if=taken)
elif node:
    keydb.credentials(name="Let facts use the new one", _if=taken)
    boot_guard.installed(name="Let boot guards use the new one", _if=taken)
if on_pods and scope.conducts(host, group):
    pods_rotation.secret(name="Give the Secret the new ones", group=group, _if=taken)
    if group.pod_proxies is not None and "check" in rotated.roles:
        pods_rotation.proxies(name="Let checks use the new one", group=group, _if=taken)
        pods_proxies.ready(name="Wait until the proxies run", group=group, _if=taken)
if proxy and not on_pods:
    haproxy.configuration(name="Let checks use the new one", program=programs.proxy(proxy), _if=taken)
if node or proxy:
    finish = rotated.finish
    rotation.settled(name="See that the group is in order", group=group, what="moved", finish=finish)
if node and rotated.finish:
    keydb.configuration(name="Take the old passwords away", program=program, strict=True, _if=moved)
if rotated.finish:
    for entry in filter(None, (node, None if on_pods else proxy)):
        paths = passwords.files(entry)
        rotation.forgotten(name="Keep no file with the old passwords", paths=paths, _if=moved)
