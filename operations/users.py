"""The ACL users of a group and the least that each needs; docs/users.md tells the same in words."""

from __future__ import annotations

ACL = {
    "application": "~* &* +@all -@dangerous",
    "replication": "resetchannels -@all +psync +replconf",
    "operator": "~runbook:* resetchannels -@all +ping +info +get +set +pfcount +multi +replicaof "
    "+client|id +client|list +client|setname +client|pause +client|unpause +client|kill "
    "+config|get +config|set +config|rewrite +bgsave +pubsub|numsub +acl|list +acl|setuser +acl|deluser",
    "monitoring": "resetchannels -@all +info",
    "check": "resetchannels -@all +info",
}
"""Rules by role, in a form that CONFIG REWRITE gives back on every engine (docs/engines.md).

``resetchannels`` stands in each limited one, because KeyDB grants all channels otherwise.
"""
