"""The shape of an inventory's data, as JSON Schema (draft 2020-12), and its check.

Every error comes at once, each as ``host: key.path: what is wrong, what is allowed``. A key that is not known is told
with the one that is meant, if one is like it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from keydb_runbooks.schemas.document import ADMIN, PREFIXES, SECRETS, Complaint, Hosts, default_of, schema
from keydb_runbooks.schemas.one_host import check_alone
from keydb_runbooks.schemas.shape import check_shape
from keydb_runbooks.schemas.together import advice, check_together

__all__ = ["ADMIN", "PREFIXES", "SECRETS", "Complaint", "Hosts", "advice", "check_hosts", "default_of", "schema"]


def check_hosts(nodes: Hosts, proxies: Hosts, machines: Mapping[str, str] | None = None) -> list[Complaint]:
    """Check the data of all hosts; return every error at once, those that all hosts share only once.

    :param machines: which machine a host is; without it every host is one
    """
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for part, hosts in (("node", nodes), ("proxy", proxies)):
        for name, data in hosts.items():
            for error in (*check_shape(part, data), *check_alone(part, data)):
                if name not in found[error]:
                    found[error].append(name)
    for complaint in check_together(nodes, proxies, machines or {}):
        found[complaint.key, complaint.sentence].append(complaint.where)
    everybody = len({*nodes, *proxies})
    return [
        Complaint("every host" if len(names) == everybody > 1 else ", ".join(names), key, sentence)
        for (key, sentence), names in found.items()
    ]
