"""A machine's sshd for tests, without root: ``ssh_peer.py [hangs]`` prints its port, and runs each command by ``sh``.

A command that says ``kill -STOP $PPID`` freezes it: connections stay open, and nobody says a word.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time

import paramiko

HANGS = sys.argv[1:] == ["hangs"]


class Server(paramiko.ServerInterface):
    """Lets everybody in, or keeps everybody waiting."""

    def get_allowed_auths(self, username):
        return "password"

    def check_auth_password(self, username, password):
        if HANGS:
            time.sleep(1000)
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel, command):
        threading.Thread(target=run, args=(channel, command.decode()), daemon=True).start()
        return True


def run(channel, command):
    # paramiko says behind this, in another thread, that it was begun.
    time.sleep(0.1)
    done = subprocess.run(["sh", "-c", f"exec {command}"], capture_output=True, check=False)
    channel.sendall(done.stdout)
    channel.sendall_stderr(done.stderr)
    channel.send_exit_status(done.returncode)
    channel.close()


listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
key, kept = paramiko.ECDSAKey.generate(), []
while True:
    transport = paramiko.Transport(listening.accept()[0])
    transport.add_server_key(key)
    transport.start_server(event=threading.Event(), server=Server())
    kept.append(transport)
