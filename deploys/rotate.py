"""Rotate: users get new passwords, and no write is dropped; old ones go on until you say that nobody needs them.

    pyinfra inventories/sandbox.py deploys/rotate.py

--data finish=yes         take the old passwords away at the end, when your clients have the new ones
--data allow_unread=NAME  a node or proxy that need not answer (several: NAME,NAME)
--data group=NAME         which group, if the inventory has several

The inventory has the new one as password and the old one as previous (docs/rotate.md). Killed at any moment it leaves
a group that takes both, or the old ones; running it again goes on.
"""

from pyinfra import host

from keydb_runbooks.operations import boot_guard, haproxy, keydb, programs, rotation, runbook, together
from keydb_runbooks.runbooks.rotate import Stage

runbook.refuse_pods(host, "rotate")
runbook.refuse_adopted(host, "rotate")
group = runbook.chosen_group(host)
rotated = rotation.rotation(host, group)
taken, moved = together.behind(host, group, "taken"), together.behind(host, group, "moved")
node, proxy = group.node_of(host), group.proxy_of(host)

if node and rotated.both:
    keydb.configuration(name="Let servers take both passwords", program=programs.server(node), stage=Stage.BOTH)
# These two on every host, so that none of them goes on before it is over.
if node or proxy:
    rotation.proved(name="See that each server takes the new ones", group=group, what="taken")
if node:
    stage = rotated.moved
    keydb.configuration(name="Let replicas use the new one", program=programs.server(node), stage=stage, _if=taken)
    keydb.credentials(name="Let facts use the new one", _if=taken)
    boot_guard.installed(name="Let boot guards use the new one", _if=taken)
if proxy:
    haproxy.configuration(name="Let checks use the new one", program=programs.proxy(proxy), _if=taken)
if node or proxy:
    rotation.settled(name="See that the group is in order", group=group, what="moved")
if node and rotated.finish:
    keydb.configuration(name="Take the old passwords away", program=programs.server(node), _if=moved)
