"""One API server of Kubernetes, as a context of the kubeconfig names it: plain requests, and errors in sentences.

Nothing here knows pods or servers. The package ``kubernetes`` is imported when it is needed: it takes a second, and
whoever has no pods needs none of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlparse

MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

Query = Sequence[tuple[str, str]]


class ClusterError(Exception):
    """The API server could not be asked, or refused; ``code`` is ``no-answer``, ``not-permitted``, ``missing``,
    ``not-accepted`` (who we are), ``not-configured`` (the kubeconfig), ``conflict`` or ``refused`` (anything else).

    ``fields`` are those that somebody else owns, with who that is, where that is the conflict.
    """

    def __init__(self, code: str, detail: str, fields: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.fields = fields


class Cluster:
    """An API server with somebody's rights.

    :param context: which of the kubeconfig's contexts, None for its current one
    :param path: the kubeconfig, None for $KUBECONFIG or ~/.kube/config, or the pod's own account inside of a cluster
    :raises ClusterError: not-configured
    """

    def __init__(self, context: str | None = None, path: str | None = None) -> None:
        self._path = path or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
        self._client, self.context = self._open(context, given=path is not None or context is not None)

    @property
    def told(self) -> str:
        """Which cluster this is, for people."""
        return f"context {self.context} of {self._path}" if self.context else "this pod's service account"

    def get(self, path: str, *, timeout: float) -> dict[str, Any]:
        """Read an object.

        :param path: from ``/api`` on
        :param timeout: seconds
        :raises ClusterError: no-answer, not-permitted, missing, not-accepted, refused
        """
        return self._call("GET", path, timeout=timeout)

    def get_dated(self, path: str, *, timeout: float) -> tuple[dict[str, Any], datetime | None]:
        """The same, with the API server's own time.

        :raises ClusterError: as ``get``
        """
        found, headers = self._ask("GET", path, timeout=timeout)
        given = headers.get("Date")
        return found, None if given is None else parsedate_to_datetime(given)

    def patch(self, path: str, body: Mapping[str, Any], *, timeout: float, manager: str) -> dict[str, Any]:
        """Merge something into an object; the answer is what it is then.

        :param manager: who is named as the owner of what changed
        :raises ClusterError: as ``get``
        """
        query = [("fieldManager", manager)]
        return self._call("PATCH", path, timeout=timeout, body=body, query=query, content_type=MERGE_PATCH)

    def apply(
        self, path: str, body: Mapping[str, Any], *, timeout: float, manager: str, dry: bool, force: bool = False
    ) -> dict[str, Any]:
        """Apply an object on the server's side: what is named becomes so, what this manager named before and doesn't
        name any more goes, and whatever others own stays. The answer is what the object is then.

        :param dry: let the server check and answer all of it, and change nothing
        :param force: take over the fields that others own
        :raises ClusterError: as ``get``, and conflict
        """
        query = [("fieldManager", manager), ("force", "true" if force else "false")]
        query += [("dryRun", "All")] if dry else []
        return self._call("PATCH", path, timeout=timeout, body=body, query=query, content_type=APPLY_PATCH)

    def delete(self, path: str, *, timeout: float, body: Mapping[str, Any] | None = None) -> None:
        """Delete an object; one that isn't there is no error.

        :param body: ``DeleteOptions``
        :raises ClusterError: as ``get``, and conflict if it isn't the one that is meant
        """
        try:
            self._call("DELETE", path, timeout=timeout, body=body)
        except ClusterError as error:
            if error.code != "missing":
                raise

    def create(self, path: str, body: Mapping[str, Any], *, timeout: float) -> dict[str, Any]:
        """Make a new object.

        :param path: of its kind
        :raises ClusterError: as ``get``, and conflict if there is one of that name
        """
        return self._call("POST", path, timeout=timeout, body=body)

    def text(self, path: str, *, timeout: float) -> str:
        """Read what is no object, a container's log for instance.

        :raises ClusterError: as ``get``
        """
        return str(self._ask("GET", path, timeout=timeout, answer="str")[0])

    def may(self, verb: str, resource: str, namespace: str, name: str, *, timeout: float) -> bool:
        """Whether we have a right.

        :raises ClusterError: as ``get``
        """
        kind, _, part = resource.partition("/")
        wanted = {"verb": verb, "resource": kind, "subresource": part, "namespace": namespace, "name": name}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": wanted},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer = self._call("POST", path, timeout=timeout, body=body)
        return bool(answer.get("status", {}).get("allowed"))

    def open_stream(self, path: str, query: Query, *, timeout: float | None) -> Any:
        """Open a WebSocket of a pod's exec or port-forward.

        :param timeout: seconds that connecting may take
        :raises ClusterError: as ``get``
        """
        import websocket

        configuration = self._client.configuration
        address = urlparse(configuration.host)
        scheme = "wss" if address.scheme == "https" else "ws"
        headers: dict[str, str] = {}
        self._client.update_params_for_auth(headers, [], ["BearerToken"])
        opened = websocket.WebSocket(sslopt=_tls(configuration), skip_utf8_validation=True)
        opened.settimeout(timeout)
        proxy = urlparse(configuration.proxy) if configuration.proxy else None
        # The same way as plain requests: the environment was looked at already.
        reached: dict[str, Any] = {"http_no_proxy": ["*"]}
        if proxy is not None:
            reached = {"http_proxy_host": proxy.hostname, "http_proxy_port": proxy.port, "http_no_proxy": ["-"]}
        try:
            opened.connect(
                f"{scheme}://{address.netloc}{address.path}{path}?{urlencode(query)}",
                header=[*(f"{name}: {value}" for name, value in headers.items())],
                subprotocols=["v4.channel.k8s.io"],
                suppress_origin=True,
                **reached,
            )
        except websocket.WebSocketBadStatusException as error:
            raise self._refused(error.status_code, error.resp_body, path) from None
        except (websocket.WebSocketException, OSError) as error:
            raise ClusterError("no-answer", f"{self._server()} does not answer: {_reason(error)}") from None
        return opened

    def _open(self, context: str | None, *, given: bool) -> tuple[Any, str | None]:
        try:
            from kubernetes import client, config
            from kubernetes.config.config_exception import ConfigException
        except ImportError:
            told = "the Python package kubernetes is missing: pip install 'keydb-runbooks[kubernetes]'"
            raise ClusterError("not-configured", told) from None
        inside = "KUBERNETES_SERVICE_HOST" in os.environ and not given and "KUBECONFIG" not in os.environ
        try:
            configuration = client.Configuration()
            if inside and not Path(self._path).exists():
                config.load_incluster_config(client_configuration=configuration)
                return _quick(client, configuration), None
            self._exists()
            context = self._known(config, context)
            config.load_kube_config(self._path, context=context, client_configuration=configuration)
        except ConfigException as error:
            raise ClusterError("not-configured", f"kubeconfig {self._path} is not usable: {error}") from None
        except ClusterError:
            raise
        except Exception as error:  # a file that is no kubeconfig fails anywhere in the library
            told = f"kubeconfig {self._path} can't be read: {type(error).__name__}: {_reason(error)}"
            raise ClusterError("not-configured", told) from None
        return _quick(client, configuration), context

    def _known(self, config: Any, context: str | None) -> str:
        """The context that is meant; a kubeconfig that names none as its current one may be asked for any."""
        merged = config.kube_config.KubeConfigMerger(self._path).config
        names = [str(one["name"]) for one in merged["contexts"]]
        if context is None:
            _, current = config.list_kube_config_contexts(self._path)
            return str(current["name"])
        if context not in names:
            told = f"kubeconfig {self._path} has no context {context!r}; it has {', '.join(names)}"
            raise ClusterError("not-configured", told)
        return context

    def _exists(self) -> None:
        # Several files may be named, as in PATH; the library merges them.
        if not any(Path(part).exists() for part in self._path.split(os.pathsep)):
            told = f"there is no kubeconfig {self._path}: set KUBECONFIG, or kubernetes_config in the inventory"
            raise ClusterError("not-configured", told)

    def _call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        answered: dict[str, Any] = self._ask(method, path, **arguments)[0]
        return answered

    def _ask(
        self,
        method: str,
        path: str,
        *,
        timeout: float,
        body: Mapping[str, Any] | None = None,
        query: Query = (),
        content_type: str = "application/json",
        answer: str = "object",
    ) -> tuple[Any, Mapping[str, str]]:
        """An answer and its headers."""
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        try:
            told, _, headers = self._client.call_api(
                path,
                method,
                query_params=list(query),
                header_params={"Accept": "application/json", "Content-Type": content_type},
                body=body,
                response_type=answer,
                auth_settings=["BearerToken"],
                _request_timeout=(timeout, timeout),
            )
        except ApiException as error:
            raise self._refused(error.status, error.body, path) from None
        except (HTTPError, OSError) as error:
            raise ClusterError("no-answer", f"{self._server()} does not answer: {_reason(error)}") from None
        return told, headers

    def _refused(self, status: int, body: object, path: str) -> ClusterError:
        told = _message(body)
        if status == 401:
            return ClusterError("not-accepted", f"{self._server()} does not accept who we are ({self.told})")
        if status == 403:
            return ClusterError("not-permitted", f"{self.told} lacks a right (RBAC): {told or path}")
        if status == 409:
            return ClusterError("conflict", told, _fields_of_others(body))
        if status == 404:
            return ClusterError("missing", told or f"there is no {path}")
        return ClusterError("refused", f"{self._server()} refused: {told or f'HTTP {status}'}")

    def _server(self) -> str:
        return f"the API server {self._client.configuration.host} ({self.told})"


@lru_cache(maxsize=8)
def cluster_of(context: str | None, path: str | None) -> Cluster:
    """The same ``Cluster`` for everybody who names the same one.

    :raises ClusterError: not-configured
    """
    return Cluster(context, path)


def place(namespace: str, kind: str, name: str, part: str = "", group: str = "/api/v1") -> str:
    """The path of an object in a namespace."""
    whole = f"{group}/namespaces/{quote(namespace, safe='')}/{kind}/{quote(name, safe='')}"
    return f"{whole}/{part}" if part else whole


def _quick(client: Any, configuration: Any) -> Any:
    from requests.utils import should_bypass_proxies

    # Who doesn't answer is told at once, and not asked three times more.
    configuration.retries = False
    # The library takes a proxy from the environment, and forgets what NO_PROXY says.
    if configuration.proxy and should_bypass_proxies(configuration.host, configuration.no_proxy):
        configuration.proxy = None
    return client.ApiClient(configuration)


def _tls(configuration: Any) -> dict[str, Any]:
    import ssl

    import certifi

    if not configuration.verify_ssl:
        options: dict[str, Any] = {"cert_reqs": ssl.CERT_NONE, "check_hostname": False}
    else:
        options = {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": configuration.ssl_ca_cert or certifi.where()}
    named = {
        "certfile": configuration.cert_file,
        "keyfile": configuration.key_file,
        "server_hostname": configuration.tls_server_name,
    }
    return {**options, **{key: value for key, value in named.items() if value}}


def _message(body: object) -> str:
    """What the API server says in the ``Status`` that it answers with."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "")
    try:
        return str(json.loads(text).get("message", ""))
    except (ValueError, AttributeError):
        return " ".join(text.split())[:200]


def _fields_of_others(body: object) -> tuple[tuple[str, str], ...]:
    """The fields of a conflict, each with the manager that owns it."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "")
    with suppress(ValueError, AttributeError, TypeError):
        causes = json.loads(text).get("details", {}).get("causes") or []
        owned = [one for one in causes if one.get("reason") == "FieldManagerConflict"]
        return tuple((str(one["field"]).lstrip("."), str(one["message"]).split('"')[1]) for one in owned)
    return ()


def _reason(error: Exception) -> str:
    """The innermost cause of what a library of HTTP throws, without the names of its objects."""
    cause: Any = error
    while isinstance(getattr(cause, "reason", None), Exception):
        cause = cause.reason
    return (str(cause).rpartition(": ")[2] or type(cause).__name__).strip()
