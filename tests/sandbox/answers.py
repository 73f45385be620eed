"""A deploy that looks at the group once and asks every verb: what each would answer, and what status would show.

    pyinfra inventories/sandbox.py tests/sandbox/answers.py -y

It prints JSON: ``answers``, verb to sentence, beside the fields of ``status``.
"""

import json

from pyinfra import host

from keydb_runbooks.facts.observation import observe
from keydb_runbooks.operations import asked, scope
from keydb_runbooks.operations.status import topologies_json
from keydb_runbooks.runbooks import failover, founding, rejoin, switchover

group = scope.chosen_group(host)
if scope.conducts(host, group):
    topology, request = observe(group), asked.request_of(host)
    answers = {
        "switchover": switchover.plan(topology, request, 1),
        "failover": failover.plan(topology, request, 1),
        "rejoin": rejoin.plan(topology, request, 1),
        "install": founding.plan(topology, group.first_primary, min_replicas=1),
    }
    told = {verb: str(answer) for verb, answer in answers.items()}
    (seen,) = json.loads(topologies_json([topology]))["groups"]
    print(json.dumps({"answers": told, **seen}, indent=2))
    raise SystemExit(0)
