"""On what a verb works: the groups of an inventory, and the one host that speaks for each of them."""

from __future__ import annotations

from pyinfra import logger
from pyinfra.api.host import Host
from pyinfra.api.output import format_text

from keydb_runbooks.connectors.group import Group, GroupError, advised, all_groups, the_group
from keydb_runbooks.connectors.kubernetes import KubernetesConnector
from keydb_runbooks.operations import beginning, endings, options, report, watching
from keydb_runbooks.operations.options import option
from keydb_runbooks.operations.show import wrap
from keydb_runbooks.operations.users import ACL
from keydb_runbooks.runbooks.exit_codes import ExitCode


def conducts(host: Host, group: Group) -> bool:
    """Whether this host's run of the deploy file carries the runbook: the group's first host that is connected."""
    connected = [member for member in group.hosts if member.connected]
    return bool(connected) and connected[0].name == host.name


def speaks_for_all(host: Host) -> bool:
    """Whether this host's run of the deploy file looks at all groups: every machine of one may be off."""
    return host.name == next(member.name for member in host.inventory if member.connected)


def chosen_group(host: Host) -> Group:
    """The group that ``--data group=...`` names, or the only one there is.

    :raises SystemExit: after every error of the inventory was printed
    """
    _check_options(host)
    wanted = option(host, "group")
    try:
        return the_group(host.inventory, None if wanted is None else str(wanted))
    except GroupError as error:
        endings.stop(host, str(error))


def groups(host: Host) -> tuple[Group, ...]:
    """Every group of the inventory, or the one that ``--data group=...`` names.

    :raises SystemExit: after every error of the inventory was printed
    """
    if option(host, "group") is not None:
        return (chosen_group(host),)
    _check_options(host)
    try:
        return tuple(all_groups(host.inventory).values())
    except GroupError as error:
        endings.stop(host, str(error))


def refuse_mixture(host: Host, verb: str) -> None:
    """Say that a verb works on groups that are on pods or on machines, and on none that is on both.

    :raises SystemExit: if there is one
    """
    for group in groups(host):
        on_pods = {member.name: issubclass(member.connector_cls, KubernetesConnector) for member in group.hosts}
        if len(set(on_pods.values())) > 1:
            names = ", ".join(name for name, is_pod in on_pods.items() if is_pod)
            endings.stop(
                host, f"refused: {verb} takes groups on pods or on machines: of {group.name} only {names} are pods"
            )


def refuse_rotation(host: Host, verb: str) -> None:
    """Say that a verb which writes the new passwords alone has to wait until a rotation is over (docs/rotate.md).

    :raises SystemExit: if a user of the groups that it would work on has a previous password
    """
    nodes = [node for group in groups(host) for node in group.nodes]
    roles = [role for role in ACL if any(node.previous(role) for node in nodes)]
    if roles:
        told = f"refused: previous-passwords {' and '.join(roles)}: {verb} would take the old passwords away at once"
        hint = "run rotate with finish=yes, then take previous out of the inventory"
        endings.stop(host, f"{told}; {hint}", ExitCode.REFUSED)


def refuse_adopted(host: Host, verb: str, *, servers: bool = False) -> None:
    """Say that a verb which writes HAProxy's file leaves somebody else's alone (docs/adopt.md).

    :param servers: whether it can't work on servers either that somebody else installed
    :raises SystemExit: if there is one among those it would work on
    """
    entries = [proxy for group in groups(host) for proxy in group.proxies if proxy.adopted]
    nodes = [node for group in groups(host) for node in group.nodes if servers and node.adopted]
    if names := [*(node.name for node in nodes), *(proxy.name for proxy in entries)]:
        told = f"refused: adopted {' and '.join(names)}: somebody else installed what {verb} would change"
        endings.stop(host, f"{told}; do it by hand, docs/adopt.md tells how", ExitCode.REFUSED)


def _check_options(host: Host) -> None:
    # In a project of somebody else no config.py did so.
    beginning.listen()
    watching.begin(host.state)
    refused = list(options.refuse(host.inventory.override_data))
    if (place := option(host, "report")) and (told := report.refuse_place(place)):
        refused.append(told)
    if refused:
        endings.stop(host, "\n    ".join(refused))


def advise(group: Group) -> None:
    """Tell a person what would be better; nothing depends on it."""
    for line in (line for sentence in advised(group) for line in wrap(sentence, "", 2)):
        logger.info(f"    {format_text(line, 'yellow')}")
