"""Which users clients have, which of them may write, and what a fence takes from each."""

import pytest
from worlds import FENCE

from keydb_runbooks.runbooks.configuration import differences
from keydb_runbooks.runbooks.fencing import awake, client_users, may_write, sleeping, with_fence
from keydb_runbooks.runbooks.replication import ClientUser

LIMITED = {"operator", "replication", "monitoring", "check"}

# (rules as a server tells them, whether the user may write, the rules that a fence adds)
RULES = [
    ("on #h ~* &* +@all -@dangerous", True, FENCE),
    ("on nopass ~* &* +@all", True, FENCE),
    ("on nopass ~* &* allcommands", True, FENCE),
    # One and the same fenced user, as KeyDB, Redis and Valkey write it.
    ("on #h ~* &* +@all -@write -@scripting -@admin -keys -info -role", False, FENCE),
    ("on #h ~* &* +@all -@write -@admin -@scripting -sort_ro -keys -info", False, FENCE),
    ("on #h ~* &* +@all -@dangerous -@write -@scripting", False, FENCE),
    ("on #h ~* &* +@all -@write", True, FENCE),
    ("on #h ~* &* +@all -@scripting", True, FENCE),
    # What is given behind the fence is not taken by it, what is given before it is.
    ("on #h ~* &* +@all -@write -@scripting +set", True, ("-@all",)),
    ("on #h ~* &* +@all -@write +set -@scripting", True, ("-@all",)),
    ("on #h ~* &* +@all +set -@write -@scripting", False, ("-@all",)),
    ("on #h ~* &* +@all -@write -@scripting +get", False, FENCE),
    ("on #h ~* &* -@all +@all", True, FENCE),
    ("on #h ~* &* +@all -@write -@scripting +@all", True, FENCE),
    ("on #h ~* &* +@all -@all", False, ("-@all",)),
    ("on #h ~* &* -@all +get +set", True, ("-@all",)),
    ("on #h ~* &* -@all +never-heard-of", True, ("-@all",)),
    ("on #h ~* &* -@all +@read +ping", False, ("-@all",)),
    ("on #h ~* &* +set nocommands", False, ("-@all",)),
    ("on #h ~* &* +@all reset", False, ("-@all",)),
    ("on #h ~* &* +set", True, ("-@all",)),
    ("on #h ~* &* +set +get", True, ("-@all",)),
    ("+set on #h ~* &* +get", True, ("-@all",)),
    ("on #h ~* &* -@all (~x -@all +set)", True, ("-@all", "clearselectors")),
    ("off #h ~* &* +@all", False, FENCE),
]


@pytest.mark.parametrize("words, writes, fence", RULES)
def test_rules_are_judged_by_what_they_come_to(words, writes, fence):
    assert client_users([f"user application {words}"], "application", LIMITED) == (
        ClientUser("application", writes, known=True, kept=False, fence=fence),
    )


@pytest.mark.parametrize("words, writes, fence", RULES)
def test_a_fence_takes_writes_from_whoever_had_them(words, writes, fence):
    selectors = fence[-1] == "clearselectors"
    left = words.partition("(")[0] if selectors else words
    rules = tuple(left.split()) + tuple(rule for rule in fence if rule != "clearselectors")
    assert not may_write(rules)


def test_users_with_rights_of_their_own_keep_them_and_sleeping_ones_are_no_clients():
    rows = [
        "user operator on #h ~runbook:* +set",
        "user replication on #h +psync",
        "user monitoring on #h +info",
        "user check on #h +info",
        "user exporter on #h -@all +info",
        "user sleeper off #h +@all",
        "user before-fence:batch off #h +set",
        "user batch on #h ~* -@all",
        "user web on #h ~* +set",
        "user",
    ]
    assert client_users(rows, "application", LIMITED) == (
        ClientUser("batch", may_write=False, known=False, kept=True, fence=("-@all",)),
        ClientUser("web", may_write=True, known=False, kept=False, fence=("-@all",)),
    )


def test_whoever_has_rights_to_get_back_is_fenced():
    users = [ClientUser("x", writes, known, kept, FENCE) for writes in (0, 1) for known in (0, 1) for kept in (0, 1)]
    assert [(user.may_write, user.known, user.kept) for user in users if user.fenced] == [
        (0, 0, 1),
        (0, 1, 0),
        (0, 1, 1),
        (1, 0, 1),
        (1, 1, 1),
    ]


def test_a_user_that_sleeps_has_all_its_rules_and_wakes_with_them():
    words = ("on", "#h", "~*", "+@all")
    assert sleeping(words) == ("off", "#h", "~*", "+@all")
    assert awake(sleeping(words)) == awake(words) == words
    assert sleeping(sleeping(words)) == sleeping(words)


def test_a_user_without_a_single_rule_is_one():
    assert [user.name for user in client_users(["user application"], "application", LIMITED)] == ["application"]


WANTED = "port 1\nuser application on #h ~* &* +@all -@dangerous\nuser check on #h +info\n# the end"
FENCED = "port 1\nuser application on #h ~* &* +@all -@dangerous -@write -@scripting\nuser check on #h +info\n# the end"
AS_KEYDB = "user application on #h ~* &* +@all -@write -@scripting -@admin -keys -info -role"

# (the users that are there, the user's line that is wanted then)
FENCES = [
    ([AS_KEYDB], AS_KEYDB),
    (["user check on #x +info", AS_KEYDB], AS_KEYDB),
    ([], None),
    ([AS_KEYDB.replace("#h", "#other")], None),
    ([AS_KEYDB.replace("~*", "~a*")], None),
    ([AS_KEYDB.replace(" on ", " off ")], None),
    (["user application on #h ~* &* +@all -@dangerous"], None),
]


@pytest.mark.parametrize("rows, line", FENCES)
def test_a_fence_that_is_in_force_is_what_is_wanted_and_any_other_is_replaced(rows, line):
    expected = FENCED if line is None else "\n".join([WANTED.split("\n")[0], line, *WANTED.split("\n")[2:]])
    assert with_fence(WANTED, "application", rows) == expected


def test_a_rule_with_a_blank_stays_one():
    wanted = 'user application on #h "~a b" +@all'
    assert with_fence(wanted, "application", []) == f"{wanted} -@write -@scripting"


def test_an_install_of_a_fenced_node_finds_nothing_to_change():
    present = f"port 1\n{AS_KEYDB}\nuser check on #h +info"
    assert differences(with_fence(WANTED, "application", present.split("\n")), present) == []
    assert [str(one) for one in differences(WANTED, present)] == ["user application: has other rules"]
