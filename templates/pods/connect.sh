# The way to the pod's own server, for scripts that source this: fd 4 takes commands, fd 3 has the answers.
if [[ -d /etc/keydb-tls ]]; then
    # No certificate is looked at: nobody else is at the pod's loopback address, and one that ran out must neither
    # end a server nor part replicas from its last writes. A line that begins with Q, R or K is an order to s_client.
    coproc SERVER { exec timeout 60 openssl s_client -quiet -no_ign_eof -connect "127.0.0.1:$PORT" 2>/dev/null; }
    trap 'kill "$SERVER_PID" 2>/dev/null' EXIT
    exec 3<&"${SERVER[0]}" 4>&"${SERVER[1]}"
else
    # /dev/tcp has no time-out of its own, but kubelet has.
    exec 3<>"/dev/tcp/127.0.0.1/$PORT" && exec 4>&3
fi
