"""``@kubernetes/NAMESPACE/POD`` for pyinfra's own operations, and what goes wrong, in sentences."""

from __future__ import annotations

import hashlib
import os

import pytest

from tests.kubernetes.group import PODS


def host(runs, pod: str = "keydb-0") -> str:
    return f"@kubernetes/{runs.group.namespace}/{pod}"


SERVER = ("--data", "kubernetes_container=server")


def test_files_go_in_and_out_whole_without_tar_in_the_image(runs, tmp_path):
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_bytes(os.urandom(300_000) + b"\0\n\xff")
    assert runs.shell("keydb-0", "command -v tar") == ""
    runs.pyinfra(*SERVER, "-y", "files.put", str(there), "/tmp/file", inventory=host(runs)).ok()
    runs.pyinfra(*SERVER, "-y", "files.get", "/tmp/file", str(back), inventory=host(runs)).ok()
    assert hashlib.sha256(back.read_bytes()).digest() == hashlib.sha256(there.read_bytes()).digest()


def test_a_file_that_cannot_be_written_is_an_error_and_no_traceback(runs, tmp_path):
    (tmp_path / "file").write_text("x")
    words = ("-y", "files.put", str(tmp_path / "file"), "/proc/nothing")
    ended = runs.pyinfra(*SERVER, *words, inventory=host(runs))
    assert ended.code == 1 and "Traceback" not in ended.text, ended.text


def test_all_pods_of_a_statefulset_are_hosts(runs):
    everybody = f"@kubernetes/{runs.group.namespace}/statefulset/keydb"
    text = runs.pyinfra(*SERVER, "exec", "--", "echo", "here", "$HOSTNAME", inventory=everybody).ok().text
    assert all(f"[{pod}] here {pod}" in text for pod in PODS)


OF_A_STATEFULSET = """import runpy
_, _data = runpy.run_path("inventories/kubernetes.py")["keydb"][0]
_data.pop("keydb_address")
keydb = (["@kubernetes/{namespace}/statefulset/keydb"], _data)
"""


def test_a_group_may_be_all_pods_of_a_statefulset(runs, tmp_path):
    """Their names in the headless Service are known without anybody's help."""
    path = tmp_path / "inventory.py"
    path.write_text(OF_A_STATEFULSET.format(namespace=runs.group.namespace))
    text = runs.pyinfra("deploys/status.py", inventory=str(path)).ok().text
    assert all(pod in text for pod in PODS) and "healthy: nothing found" in text, text


def test_the_exit_code_and_both_outputs_come_back(runs):
    ended = runs.pyinfra(*SERVER, "exec", "--", "echo one; echo two >&2; exit 7", inventory=host(runs))
    assert ended.code == 1
    assert "[keydb-0] one" in ended.text and "[keydb-0] two" in ended.text


@pytest.mark.parametrize(
    "name, arguments, sentence",
    [
        ("nowhere/keydb-0", (), "there is no namespace nowhere"),
        ("NAMESPACE/keydb-7", (), "there is no pod keydb-7 in namespace"),
        (
            "NAMESPACE/keydb-0",
            ("--data", "kubernetes_container=sever"),
            "has no container 'sever'; it has metrics, server",
        ),
        ("NAMESPACE/keydb-0", ("--data", "kubernetes_context=nope"), "has no context 'nope'; it has"),
        ("NAMESPACE/keydb-0", ("--data", "kubernetes_config=/nope"), "there is no kubeconfig /nope"),
        ("NAMESPACE/statefulset/nope", (), 'statefulsets.apps "nope" not found'),
        ("NAMESPACE", (), "is no pod; allowed are @kubernetes/NAMESPACE/POD"),
        ("NAMESPACE/daemonset/keydb", (), "is no pod; allowed are @kubernetes/NAMESPACE/POD"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(runs, name, arguments, sentence):
    whole = f"@kubernetes/{name.replace('NAMESPACE', runs.group.namespace)}"
    environment = {}
    if name.startswith("nowhere"):
        # An operator may look into no namespace but his own.
        environment = {"KUBECONFIG": os.environ["KUBECONFIG"]}
    ended = runs.pyinfra(*arguments, "exec", "--", "true", inventory=whole, **environment)
    assert ended.code == 1 and "Traceback" not in ended.text, ended.text
    assert sentence in " ".join(ended.text.split()), ended.text


@pytest.mark.parametrize("without, sentence", [
    ("pods", 'lacks a right (RBAC): pods "keydb-0" is forbidden'),
    ("pods/exec", "pods/exec"),
    ("pods/portforward", "node-forwarding-forbidden"),
])  # fmt: skip
def test_a_missing_right_is_named(runs, without, sentence):
    account = {"KUBECONFIG": str(runs.group.account(f"no-{without.replace('/', '-')}", without=without))}
    if without == "pods/portforward":
        assert sentence in runs.run("status", format="json", environment=account).text
        return
    ended = runs.pyinfra(*SERVER, "exec", "--", "true", inventory=host(runs), **account)
    assert ended.code == 1 and "Traceback" not in ended.text, ended.text
    assert sentence in " ".join(ended.text.split()), ended.text


def test_an_api_server_that_does_not_answer_is_named(runs, tmp_path):
    path = runs.group.kubeconfig()
    elsewhere = tmp_path / "kubeconfig"
    elsewhere.write_text(path.read_text().replace(runs.group.api.configuration.host, "https://127.0.0.1:1"))
    ended = runs.run("status", environment={"KUBECONFIG": str(elsewhere)})
    assert ended.code == 1 and "Traceback" not in ended.text, ended.text
    assert "the API server https://127.0.0.1:1 (context operator of" in " ".join(ended.text.split())
