"""A good inventory, and as many broken ones as are wanted, each broken once and told by the key that is to blame.

An inventory here is what an inventory file holds: groups, each a list of hosts with their data.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from random import Random

from keydb_runbooks.schemas import schema

Data = dict[str, object]
Inventory = dict[str, list[tuple[str, Data]]]
ROLES = ("application", "replication", "operator", "monitoring", "check")
PARTS = {"keydb": schema()["$defs"]["node"]["properties"], "haproxy": schema()["$defs"]["proxy"]["properties"]}


@dataclass(frozen=True)
class Broken:
    """An inventory with one thing wrong: which key must be named, and what must be said of it."""

    title: str
    inventory: Inventory
    key: str
    said: str = ""

    def file(self) -> str:
        """The inventory as a file."""
        return "".join(f"{group} = {hosts!r}\n" for group, hosts in self.inventory.items())


def good_inventory(home: str = "/nonexistent", port: int = 17000) -> Inventory:
    """Three servers and two proxies in the sandbox, each with a value for nearly every key."""
    users = {role: {"name": role, "password": f"never-told-{role}"} for role in ROLES}
    common: Data = {
        "sandbox_directory": home,
        "keydb_group": "demo",
        "keydb_users": users,
        "keydb_connect_timeout": 2,
        "keydb_command_timeout": 2.5,
        "keydb_clients_only_through_proxies": True,
    }

    def node(number: int) -> tuple[str, Data]:
        own = f"{home}/keydb-{number}"
        return f"@sandbox/keydb-{number}", {
            **deepcopy(common),
            "keydb_engine": "keydb",
            "keydb_address": "127.0.0.1",
            "keydb_port": port + 10 + number,
            "keydb_config_directory": own,
            "keydb_data_directory": f"{own}/data",
            "keydb_log_file": f"{own}/server.log",
            "keydb_pid_file": f"{own}/server.pid",
            "keydb_first_primary": number == 1,
            "keydb_maxmemory": "64mb",
            "keydb_persistence": "rdb",
            "keydb_min_replicas_to_write": 1,
            "keydb_min_replicas_max_lag": 2,
            "keydb_backlog_size": "1mb",
            "keydb_server_threads": 1,
            "keydb_default_user": "off",
            "keydb_settings": {"hz": 20, "slowlog-log-slower-than": "9000"},
        }

    def proxy(number: int) -> tuple[str, Data]:
        own = f"{home}/proxy-{number}"
        return f"@sandbox/proxy-{number}", {
            **deepcopy(common),
            "haproxy_address": "127.0.0.1",
            "haproxy_write_port": port + number * 3,
            "haproxy_read_port": port + number * 3 + 1,
            "haproxy_statistics_port": port + number * 3 + 2,
            "haproxy_config_directory": own,
            "haproxy_runtime_socket": f"{own}/admin.sock",
            "haproxy_pid_file": f"{own}/haproxy.pid",
            "haproxy_check_interval": 200,
            "haproxy_max_connections": 100,
        }

    return {"keydb": [node(1), node(2), node(3)], "haproxy": [proxy(1), proxy(2)]}


def broken_inventories(count: int, seed: int = 1, home: str = "/nonexistent", port: int = 17000) -> list[Broken]:
    """That many broken inventories, no two alike, from every mutation in turn."""
    random, found, seen = Random(seed), [], set()
    while len(found) < count:
        for mutate in MUTATIONS:
            inventory = good_inventory(home, port)
            key, said = mutate(random, inventory)
            title = f"{len(found) + 1:03d} {mutate.__name__.lstrip('_').replace('_', ' ')}: {key}"
            if repr(inventory) not in seen and len(found) < count:
                seen.add(repr(inventory))
                found.append(Broken(title, inventory, key, said))
    return found


def write(broken: Broken, folder: Path) -> Path:
    """Write an inventory's file, and return its path."""
    path = folder / f"{broken.title[:3]}.py"
    path.write_text(broken.file())
    return path


def any_host(random: Random, inventory: Inventory) -> tuple[str, Data]:
    """Some host: its group and its data."""
    group = random.choice(["keydb", "keydb", "haproxy"])
    return group, random.choice(inventory[group])[1]


def some_key(random: Random, group: str, data: Data, *kinds: str) -> str:
    """Some key of a host that is of one of these types."""
    known = PARTS[group]
    return random.choice([key for key in data if key in known and known[key].get("type", "enum") in kinds])


def misspelt(random: Random, word: str) -> str:
    """A word with one slip of the finger, that isn't the same word again."""
    while True:
        at = random.randrange(len(word) - 1)
        head, tail = word[:at], word[at:]
        slip = random.choice(
            [head + tail[1] + tail[0] + tail[2:], head + tail[1:], head + tail[0] + tail, head + "x" + tail[1:]]
        )
        if slip != word:
            return slip


def _a_misspelt_key(random: Random, inventory: Inventory) -> tuple[str, str]:
    _, data = any_host(random, inventory)
    key = random.choice([key for key in data if key.startswith(("keydb_", "haproxy_"))])
    prefix, _, rest = key.partition("_")
    wrong = f"{prefix}_{misspelt(random, rest)}"
    data[wrong] = data.pop(key)
    return wrong, f"did you mean {key}?"


def _a_misspelt_prefix(random: Random, inventory: Inventory) -> tuple[str, str]:
    _, data = any_host(random, inventory)
    key = random.choice([key for key in data if key.startswith(("keydb_", "haproxy_"))])
    prefix, _, rest = key.partition("_")
    wrong = random.choice(
        [f"{misspelt(random, prefix)}_{rest}", f"{prefix}-{rest}", f"{prefix}{rest}", f"{prefix.title()}_{rest}"]
    )
    data[wrong] = data.pop(key)
    return wrong, f"did you mean {key}?"


def _a_key_that_nobody_knows(random: Random, inventory: Inventory) -> tuple[str, str]:
    _, data = any_host(random, inventory)
    wrong = random.choice(["keydb_", "haproxy_"]) + random.choice(["colour", "zzz", "x1", "owner", "9"])
    data[wrong] = random.choice([1, "a", None])
    return wrong, "is not a key that is known"


def _a_misspelt_role(random: Random, inventory: Inventory) -> tuple[str, str]:
    users, role = any_host(random, inventory)[1]["keydb_users"], random.choice(ROLES)
    wrong = misspelt(random, role)
    users[wrong] = users.pop(role)
    return f"keydb_users.{wrong}", f"did you mean {role}?"


def _a_misspelt_key_of_a_user(random: Random, inventory: Inventory) -> tuple[str, str]:
    role, key = random.choice(ROLES), random.choice(["name", "password"])
    user = any_host(random, inventory)[1]["keydb_users"][role]
    wrong = misspelt(random, key)
    user[wrong] = user.pop(key)
    return f"keydb_users.{role}.{wrong}", f"did you mean {key}?"


WRONG_TYPES = {
    "integer": ["6379", 2.0, True, None, [1]],
    "number": ["2", True, None, [2]],
    "boolean": ["yes", 1, None, "True"],
    "string": [5, None, ["/tmp"], {}, True],
    "object": ["text", None, ["a"], 5],
    "enum": [5, None, [], "all", "RDB!"],
}


def _a_value_of_another_type(random: Random, inventory: Inventory) -> tuple[str, str]:
    group, data = any_host(random, inventory)
    kind = random.choice(["integer", "number", "boolean", "string", "object", *(["enum"] if group == "keydb" else [])])
    kind = kind if group == "keydb" or kind != "object" else "string"
    key = some_key(random, group, data, kind)
    data[key] = random.choice(WRONG_TYPES[kind])
    return key, "is wrong; allowed"


def _a_number_out_of_range(random: Random, inventory: Inventory) -> tuple[str, str]:
    group, data = any_host(random, inventory)
    key = some_key(random, group, data, "integer", "number")
    limits = PARTS[group][key]
    below = [limits["minimum"] - 1] if "minimum" in limits else [0, -0.5]
    data[key] = random.choice([*below, limits["maximum"] + 1, 10**12])
    return key, "is wrong; allowed is"


WRONG_TEXTS = {
    "directory": ["relative/path", "", "~/keydb", "/etc/a\nb"],
    "file": ["server.log", "", "./x", "/run/a\0b"],
    "socket": ["admin.sock", f"/{'x' * 90}", "/run/a b.sock"],
    "maxmemory": ["1tb", "-1", "64 mb", "much", "1mb\n"],
    "size": ["0x10", "1.5gb", ""],
    "address": ["10.0.0.300", "10.0.0.1:6379", "a b", "", "10.0.0", "fe80::zz", "a/24"],
    "group": ["a b", "", "demo\n", "dé"],
}


def _a_text_that_is_not_allowed(random: Random, inventory: Inventory) -> tuple[str, str]:
    group, data = any_host(random, inventory)
    key = some_key(random, group, data, "string")
    data[key] = random.choice(WRONG_TEXTS[key.rpartition("_")[2]])
    return key, "is wrong; allowed is"


def _a_word_that_is_not_one_of_the_few(random: Random, inventory: Inventory) -> tuple[str, str]:
    data = random.choice(inventory["keydb"])[1]
    key = some_key(random, "keydb", data, "enum")
    word = random.choice([word for word in PARTS["keydb"][key]["enum"] if len(word) > 3])
    data[key] = random.choice([misspelt(random, word), word.title()])
    return key, f"did you mean {word}?"


def _a_key_that_is_missing(random: Random, inventory: Inventory) -> tuple[str, str]:
    group, data = any_host(random, inventory)
    key = random.choice(["keydb_users", "keydb_address" if group == "keydb" else "haproxy_address"])
    del data[key]
    return key, "is missing"


def _a_user_that_is_missing(random: Random, inventory: Inventory) -> tuple[str, str]:
    role = random.choice(ROLES)
    users = any_host(random, inventory)[1]["keydb_users"]
    key = random.choice(["", ".name", ".password"])
    if key:
        del users[role][key[1:]]
    else:
        del users[role]
    return f"keydb_users.{role}{key}", "is missing"


def _a_password_that_is_not_allowed(random: Random, inventory: Inventory) -> tuple[str, str]:
    role = random.choice(ROLES)
    user = any_host(random, inventory)[1]["keydb_users"][role]
    user["password"] = random.choice(
        ["", "never-told\n", "a\0never-told", "never-told" * 52, "\udcffnever-told", 5, None]
    )
    return f"keydb_users.{role}.password", "its value is wrong; allowed is a text of 1 to 512 characters"


def _a_name_of_a_user_that_is_not_allowed(random: Random, inventory: Inventory) -> tuple[str, str]:
    role = random.choice(ROLES)
    user = any_host(random, inventory)[1]["keydb_users"][role]
    user["name"] = random.choice(["a b", "", "app\n", "default", 5])
    return f"keydb_users.{role}.name", "allowed is"


def _a_user_that_is_two(random: Random, inventory: Inventory) -> tuple[str, str]:
    first, second = sorted(random.sample(range(5), 2))
    key = random.choice(["name", "password"])
    for _, data in [*inventory["keydb"], *inventory["haproxy"]]:
        data["keydb_users"][ROLES[second]][key] = data["keydb_users"][ROLES[first]][key]
    return f"keydb_users.{ROLES[second]}.{key}", "every role needs its own"


def _a_user_that_one_host_has_differently(random: Random, inventory: Inventory) -> tuple[str, str]:
    role = random.choice(ROLES)
    data = random.choice([*inventory["keydb"][1:], *inventory["haproxy"]])[1]
    data["keydb_users"][role][random.choice(["name", "password"])] += "-too"
    return f"keydb_users.{role}", "all hosts of a group have the same"


def _a_password_that_keydb_would_break_its_file_with(random: Random, inventory: Inventory) -> tuple[str, str]:
    password = random.choice(["🔑", '"', "\\", "ü", "\x01"])
    password *= 512 if password in '"\\' else random.randrange(260, 512)
    for _, data in [*inventory["keydb"], *inventory["haproxy"]]:
        data["keydb_users"]["replication"]["password"] = password
    return "keydb_users.replication.password", "1023 characters"


def _a_place_that_is_taken(random: Random, inventory: Inventory) -> tuple[str, str]:
    places = [(data, key) for hosts in inventory.values() for _, data in hosts for key in data if key.endswith("_port")]
    first, second = sorted(random.sample(range(len(places)), 2))
    (data, key), (other, its_key) = places[first], places[second]
    other[its_key] = data[key]
    return its_key, "already"


def _a_path_that_is_taken(random: Random, inventory: Inventory) -> tuple[str, str]:
    group = random.choice(["keydb", "haproxy"])
    (_, data), (_, other) = sorted(random.sample(inventory[group], 2), key=lambda host: host[0])
    paths = [
        "_config_directory",
        "_pid_file",
        *(["_data_directory", "_log_file"] if group == "keydb" else ["_runtime_socket"]),
    ]
    key = group + random.choice(paths)
    other[key] = data[key] + random.choice(["", "/.", "//"] if key.endswith("directory") else [""])
    return key, "on the same machine"


def _a_second_first_primary(random: Random, inventory: Inventory) -> tuple[str, str]:
    random.choice(inventory["keydb"][1:])[1]["keydb_first_primary"] = True
    return "keydb_first_primary", "allowed is one"


def _a_proxy_without_nodes(random: Random, inventory: Inventory) -> tuple[str, str]:
    data = random.choice(inventory["haproxy"])[1]
    data["keydb_group"], said = random.choice(
        [(misspelt(random, "demo"), "no node is in"), ("Demo", "did you mean demo?"), ("other", "allowed are demo")]
    )
    return "keydb_group", said


def _a_node_in_a_group_of_its_own(random: Random, inventory: Inventory) -> tuple[str, str]:
    random.choice(inventory["keydb"])[1]["keydb_group"] = random.choice(["Demo", "DEMO", "dEmo"])
    return "keydb_group", "differ in capitals only"


def _a_node_in_a_misspelt_group(random: Random, inventory: Inventory) -> tuple[str, str]:
    data = random.choice(inventory["keydb"])[1]
    data["keydb_group"] = random.choice(["demoo", "deom", "dem", "demos", "dmeo"])
    return "keydb_min_replicas_to_write", "did you mean demo?"


def _a_group_of_another_name(random: Random, inventory: Inventory) -> tuple[str, str]:
    group = random.choice(["keydb", "haproxy"])
    wrong = random.choice(
        [f"{group}s", group.title(), group.upper(), f"{group[:-1]}", group[0] + group[2] + group[1] + group[3:]]
    )
    inventory[wrong] = inventory.pop(group)
    return wrong, f"did you mean {group}"


def _a_group_that_is_empty(random: Random, inventory: Inventory) -> tuple[str, str]:
    if random.random() < 0.5:
        inventory["keydb"] = []
        return "keydb", "is empty"
    inventory["nodes"] = inventory.pop("keydb")
    return "keydb", "is missing"


def _replicas_that_can_never_be(random: Random, inventory: Inventory) -> tuple[str, str]:
    needed = random.randrange(3, 100)
    for _, data in inventory["keydb"]:
        data["keydb_min_replicas_to_write"] = needed
    return "keydb_min_replicas_to_write", "allowed is 2 at most"


def _a_value_that_one_host_has_differently(random: Random, inventory: Inventory) -> tuple[str, str]:
    data = random.choice(inventory["keydb"][1:])[1]
    key, value = random.choice(
        [("to_write", 0), ("to_write", 2), ("max_lag", 3), ("max_lag", 60), ("clients_only_through_proxies", False)]
    )
    key = f"keydb_min_replicas_{key}" if len(key) < 9 else f"keydb_{key}"
    data[key] = value
    return key, "all hosts of a group have the same"


def _a_setting_that_is_not_allowed(random: Random, inventory: Inventory) -> tuple[str, str]:
    name, value, key, said = random.choice(
        [
            ("replicaof", "10.0.0.1 6379", "keydb_settings", "the role belongs to the runbooks"),
            ("HZ", 10, "keydb_settings", "small letters"),
            (5, 10, "keydb_settings", "small letters"),
            ("hz", True, "keydb_settings.hz", "a number or a text of one line"),
            ("hz", "5\nport 1", "keydb_settings.hz", "a number or a text of one line"),
            ("hz", ["5"], "keydb_settings.hz", "a number or a text of one line"),
            ("port", 6379, "keydb_settings.port", "belongs to keydb_port"),
            ("maxmemory", "1gb", "keydb_settings.maxmemory", "belongs to keydb_maxmemory"),
            ("masterauth", "never-told", "keydb_settings.masterauth", "belongs to keydb_users"),
            ("requirepass", ["never-told"], "keydb_settings.requirepass", "its value is wrong"),
            ("proc-title-template", "x" * 1020, "keydb_settings.proc-title-template", "1023 characters"),
        ]
    )
    random.choice(inventory["keydb"])[1]["keydb_settings"][name] = value
    return key, said


def _half_of_tls(random: Random, inventory: Inventory) -> tuple[str, str]:
    keys = ["keydb_tls_ca", "keydb_tls_certificate", "keydb_tls_key"]
    missing = random.choice(keys)
    for _, data in inventory["keydb"]:
        data.update({key: f"/nonexistent/{random.random()}" for key in keys if key != missing})
    return missing, "is missing"


Mutation = Callable[[Random, Inventory], tuple[str, str]]
MUTATIONS: tuple[Mutation, ...] = tuple(
    value for name, value in list(globals().items()) if name.startswith("_") and callable(value) and "__" not in name
)
"""Each breaks an inventory in one place and tells the key that is to blame, and what must be said of it."""
