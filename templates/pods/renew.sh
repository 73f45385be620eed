# Lets a pod's server take over the certificate of the Secret as soon as kubelet has brought it; no connection ends.
#
#   renew DIGEST    of the CA's certificates and the server's own, as they are wanted
set -uf
export LC_ALL=C
TLS=/etc/keydb-tls
WAIT=180

fail() {
    printf 'renew: %s\n' "$*" >&2
    exit 1
}

until digest=$(cat "$TLS/ca.crt" "$TLS/tls.crt" | sha256sum) && [[ ${digest%% *} == "$1" ]]; do
    ((SECONDS < WAIT)) || fail "kubelet has not brought the Secret into the pod after $WAIT s"
    sleep 0.2
done
config=$(</etc/keydb-runbooks/config-path)
. /etc/keydb-runbooks/connect || fail "the server does not listen"
# All three are read again with each of them, even if their names are the old ones.
for command in "$(<"${config%/*}/operator.auth")" "CONFIG SET tls-ca-cert-file $TLS/ca.crt" \
    "CONFIG SET tls-cert-file $TLS/tls.crt" "CONFIG SET tls-key-file $TLS/tls.key"; do
    printf '%s\r\n' "$command" >&4
    read -r -t 5 answer <&3 || fail "the server does not answer"
    [[ $answer == +OK* ]] || fail "the server refuses: ${answer//[^[:print:]]/?}"
done
# Written last: a run that died before does it again.
record=${config%/*}/certificate.sha256
printf '%s\n' "$1" >"$record.new" && mv "$record.new" "$record"
