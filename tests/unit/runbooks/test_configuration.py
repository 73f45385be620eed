"""keydb.conf is read as the servers read it, compared by meaning, and merged without a role."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keydb_runbooks.runbooks.configuration import (
    ConfigurationError,
    Difference,
    Directive,
    differences,
    in_bytes,
    merge,
    parse,
    quote,
    rules,
    split_words,
)

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
NAMES = st.from_regex(r"[a-z][a-z-]{0,12}", fullmatch=True)
FILES = st.lists(st.tuples(NAMES, st.lists(TEXT, max_size=3))).map(
    lambda lines: "\n".join(" ".join([name, *map(quote, values)]) for name, values in lines)
)


def told(wanted: str, present: str) -> list[str]:
    return [str(difference) for difference in differences(wanted, present)]


@given(TEXT)
def test_any_text_without_a_nul_survives_being_quoted(value):
    assert split_words(quote(value)) == [value]


@given(TEXT)
def test_a_quoted_value_is_plain_ascii_on_one_line(value):
    quoted = quote(value)
    assert quoted.isascii() and quoted.isprintable() and len(quoted.splitlines()) == 1


@given(NAMES, st.lists(TEXT))
def test_a_directive_comes_back_with_its_values(name, values):
    assert parse(" ".join([name, *map(quote, values)])) == [Directive(name, tuple(values))]


@given(st.lists(TEXT))
def test_words_come_back_as_they_were_quoted(values):
    assert split_words(" ".join(map(quote, values))) == values


# (line, its words as sdssplitargs of the servers splits them)
WORDS = [
    ("", []),
    ("  a   b\t c ", ["a", "b", "c"]),
    ('"a b" c', ["a b", "c"]),
    ("'a b' c", ["a b", "c"]),
    (r'"\x41\n\r\t\b\a\"\\\q"', ['A\n\r\t\b\a"\\q']),
    (r"'it\'s' '\n'", ["it's", r"\n"]),
    (r"a\b", [r"a\b"]),
    (r'"\xc3\xbc"', ["ü"]),
    (r'"\xzz"', ["xzz"]),
    ('""', [""]),
    ("''", [""]),
    ("a#b", ["a#b"]),
]


@pytest.mark.parametrize("line, words", WORDS)
def test_a_line_is_split_as_the_servers_do_it(line, words):
    assert split_words(line) == words


# (value, as it stands in a file)
QUOTED = [
    ("", '""'),
    ("Az09_./:@%+,=~*&|>-", "Az09_./:@%+,=~*&|>-"),
    ("a#", "a#"),
    ("#a", '"#a"'),
    ("a b", '"a b"'),
    ("~}", '"~}"'),
    ('"\\', r'"\"\\"'),
    ("\n\x1f\x7f", r'"\x0a\x1f\x7f"'),
    ("ü", r'"\xc3\xbc"'),
    ("\udcff", r'"\xff"'),  # a byte that is no UTF-8
]


@pytest.mark.parametrize("value, quoted", QUOTED)
def test_a_value_is_quoted_only_if_it_must_be(value, quoted):
    assert quote(value) == quoted
    assert split_words(quoted) == [value]


def test_a_byte_that_is_no_utf_8_is_kept_between_quotes():
    assert split_words('"\udcff"') == ["\udcff"]


@pytest.mark.parametrize("line", ['"a', "'a", '"a"b', "'a'b", '"a\\"'])
def test_a_quote_that_is_not_closed_is_told_with_its_line(line):
    with pytest.raises(ConfigurationError) as caught:
        parse(f"port 1\n\nrequirepass {line}\n")
    assert str(caught.value) == "line 3: a quote is not closed, or something stands behind a closing one"


def test_comments_and_blank_lines_are_left_out_and_names_are_lower_case():
    assert parse("# port 1\n\n  PORT 2\n\t#x\nBind a b\n") == [Directive("port", ("2",)), Directive("bind", ("a", "b"))]


SIZES = [("1", 1), ("1k", 1000), ("1kb", 1024), ("2M", 2_000_000), ("2mb", 2 * 1024**2), ("3g", 3 * 10**9), ("3GB", 3 * 1024**3), ("0", 0)]  # fmt: skip


@pytest.mark.parametrize("text, size", SIZES)
def test_a_size_is_read_as_the_servers_read_it(text, size):
    assert in_bytes(text) == size


@pytest.mark.parametrize("text", ["", "many", "1tb", "-1", "1.5gb", "kb"])
def test_what_is_no_size_stays_a_text(text):
    assert in_bytes(text) == text


def test_a_size_in_plain_bytes_may_say_so():
    assert in_bytes("100b") == 100


# (wanted, present): two ways to write the same
SAME = [
    ("maxmemory 256mb", "maxmemory 268435456"),
    ("repl-backlog-size 16mb", "repl-backlog-size 16777216"),
    ("save 900 1\nsave 300 10", "save 900 1 300 10"),
    ("save 300 10\nsave 900 1", "save 900 1\nsave 300 10"),
    ('save ""', "save ''"),
    ("masterauth x", 'primaryauth "x"'),
    ("masteruser x", 'primaryuser "x"'),
    ("min-replicas-to-write 1", "min-slaves-to-write 1"),
    ("replica-priority 5", "slave-priority 5"),
    ("dir /data", 'dir "/data"'),
    ("port 1\nport 2", "port 2"),
    ("PORT 1", "port 1"),
    ("appendonly YES", "appendonly yes"),
    ("appendonly no", "appendonly NO"),
    ("user default off resetchannels -@all", "user default off sanitize-payload resetchannels -@all"),
    ("user app on #aa ~* &* +@all -@admin", "user app on #aa allkeys allchannels allcommands -@admin"),
    ("user app on #aa ~* &* +@all -flushall -sort", "user app on #aa ~* &* +@all -sort -flushall"),
    ("user r on #aa resetchannels -@all +psync +replconf", "user r on #aa -@all +replconf +psync"),
    ("user r on #aa +get", "user r on #aa +set -@all +get"),
    ("user r on #aa +get", "user r on #aa +set nocommands +get"),
    ("client-output-buffer-limit replica 1kb 2kb 3\nclient-output-buffer-limit pubsub 4 5 6", "client-output-buffer-limit pubsub 4 5 6 slave 1024 2048 3"),
]  # fmt: skip


@pytest.mark.parametrize("wanted, present", SAME)
def test_what_means_the_same_is_no_difference(wanted, present):
    assert told(wanted, present) == []


def test_a_password_is_compared_by_the_hash_of_its_bytes_whatever_these_are():
    assert rules((">\udcff",)) == {f"#{sha256(bytes([0xFF])).hexdigest()}"}


# (wanted, present, what is said)
OTHER = [
    ("port 1", "", "port: is missing, wanted is 1"),
    ("port 1", "port 2", "port: is 2, wanted is 1"),
    ('logfile ""', "logfile /x", "logfile: is /x, wanted is empty"),
    ("maxmemory 256mb", "maxmemory 1gb", "maxmemory: is 1gb, wanted is 256mb"),
    ("save 900 1", 'save ""', "save: is empty, wanted is 900 1"),
    ("save 900 1", "save 900 1 300 10", "save: is 900 1 300 10, wanted is 900 1"),
    ("save 900 1", "save 901 1", "save: is 901 1, wanted is 900 1"),
    ("save 900 1", "save 900 2", "save: is 900 2, wanted is 900 1"),
    ("save 900 1", "save 900", "save: is 900, wanted is 900 1"),
    ("replicaof a 1\nport 1", "", "port: is missing, wanted is 1"),
    ("masterauth new", "masterauth old", "masterauth: has another value"),
    ("masterauth new", "", "masterauth: is missing"),
    ("primaryauth new", "masterauth old", "masterauth: has another value"),
    ("user app on #aa +@all", "user app on #bb +@all", "user app: has other rules"),
    ("user app on #aa +@all", "user other on #aa +@all", "user app: is missing"),
    ("user app on #aa &*", "user app on #aa resetchannels", "user app: has other rules"),
    ("user app on #aa +get", "user app on #aa +get -get", "user app: has other rules"),
    ("user app on #aa +get", "user app on #aa +get -@read", "user app: has other rules"),
]


@pytest.mark.parametrize("wanted, present, sentence", OTHER)
def test_a_difference_is_told_and_a_secret_is_not(wanted, present, sentence):
    assert told(wanted, present) == [sentence]


@pytest.mark.parametrize("name, secret", [("masterauth", True), ("requirepass", True), ("user", True), ("port", False)])
def test_a_difference_knows_whether_it_is_secret(name, secret):
    assert Difference(name, ("x",), None).secret is secret
    # pyinfra prints the arguments of what it is about to call, if it is asked to.
    assert ("never-told" in repr(Difference(name, ("u", "never-told"), ("never-told",)))) is not secret


def test_what_nobody_asked_for_is_not_looked_at():
    assert told("port 1", "port 1\nappendfsync no\nuser somebody on +@all") == []


@pytest.mark.parametrize("word", ["replicaof", "REPLICAOF", "slaveof"])
@pytest.mark.parametrize("present", ["", "replicaof b 2", "slaveof b 2"])
def test_the_role_is_never_a_difference(word, present):
    assert differences(f"{word} a 1", present) == []


@given(FILES, FILES)
def test_no_file_at_all_has_a_difference_in_its_role(wanted, present):
    assert "replicaof" not in [found.name for found in differences(f"{wanted}\nreplicaof a 1", present)]


@given(FILES)
def test_a_file_does_not_differ_from_itself(text):
    assert differences(text, text) == []


@given(FILES, FILES)
def test_a_merged_file_has_every_wish_and_whatever_nobody_asked_for(wanted, present):
    merged = merge(wanted, present)
    keys = {line.key for line in parse(wanted)}
    unknown = [line for line in parse(present) if line.key not in keys]
    assert differences(wanted, merged) == []
    assert parse(merged) == [*parse(wanted), *unknown]


# (line, its directives without the name)
LIMITS = [
    ("slave 1 2 3", [("replica", "1", "2", "3")]),
    ("replica 1 2 3", [("replica", "1", "2", "3")]),
    ("slave 1 2 3 normal 4 5 6 pubsub 7 8 9", [("replica", "1", "2", "3"), ("normal", "4", "5", "6"), ("pubsub", "7", "8", "9")]),
    ("slave 1 2", [("slave", "1", "2")]),
    ("slave 1 2 3 normal", [("slave", "1", "2", "3", "normal")]),
]  # fmt: skip


@pytest.mark.parametrize("line, expected", LIMITS)
def test_limits_are_one_directive_a_class_and_whatever_is_none_stays_as_it_is(line, expected):
    name = "client-output-buffer-limit"
    assert parse(f"{name} {line}") == [Directive(name, values) for values in expected]


@pytest.mark.parametrize("wanted", ["port 1 \n\n", "masterauth X\n", "port 1"])
def test_a_merge_keeps_the_wanted_lines_whole(wanted):
    kept = "\n\n# Kept from the file that was here before.\nappendfsync no\n"
    assert merge(wanted, "appendfsync no\n") == wanted.rstrip("\n") + kept


@pytest.mark.parametrize("line", ["replicaof 10.0.0.1 6379", "slaveof 10.0.0.1 6379"])
def test_a_merge_leaves_the_role_as_it_is(line):
    assert line in merge("port 1\n", f"port 2\n{line}\n").splitlines()


def test_not_even_a_wish_for_a_role_replaces_the_one_on_disk():
    merged = merge("port 1\nreplicaof 10.0.0.9 6379\n", "replicaof 10.0.0.1 6379\n")
    assert [line.values for line in parse(merged) if line.name == "replicaof"] == [("10.0.0.1", "6379")]


@pytest.mark.parametrize("line", ["replicaof a 1", "slaveof a 1", "  SLAVEOF a 1"])
def test_a_wish_for_a_role_is_left_out_of_a_merge(line):
    assert merge(f"port 1\n{line}\n\nport 2\n", "") == "port 1\n\nport 2\n"


def test_a_merge_keeps_other_users():
    merged = merge("user app on #aa +@all\n", "user app off\nuser other on #bb +@all\n")
    assert parse(merged) == [
        Directive("user", ("app", "on", "#aa", "+@all")),
        Directive("user", ("other", "on", "#bb", "+@all")),
    ]


def test_a_merge_with_nothing_to_keep_is_the_wanted_file():
    assert merge("# head\nport 1\n", "port 2\n") == "# head\nport 1\n"


def test_what_is_kept_stands_under_a_sentence_that_says_so():
    assert merge("port 1\n", "appendfsync no\n").splitlines()[1:] == [
        "",
        "# Kept from the file that was here before.",
        "appendfsync no",
    ]


def test_limits_of_different_client_classes_are_different_settings():
    rewritten = "client-output-buffer-limit normal 0 0 0\nclient-output-buffer-limit replica 256mb 64mb 60\nclient-output-buffer-limit pubsub 32mb 8mb 60"
    assert told("client-output-buffer-limit replica 256mb 64mb 60", rewritten) == []


def test_saving_that_a_later_line_turns_off_is_not_as_wanted():
    assert told("save 900 1", 'save 900 1\nsave ""') != []


def test_rules_in_another_order_that_allow_more_are_a_difference():
    assert told("user app on #aa +@all -flushall", "user app on #aa -flushall +@all") != []
