"""Where the connection to the host comes from."""

import os
import socket
import struct
import sys


def host_socket():
    """The connection to the host, and whether a developer has it attached: nobody but the terminal ends this process then.

    It is the socket that the host passed on, or the one connection to the path on which this plugin listens.
    """
    if number := os.environ.get("TORU_PLUGIN_FD"):
        return socket.socket(fileno=int(number)), False
    if not (path := os.environ.get("TORU_PLUGIN_SOCKET")):
        sys.exit("this is a Toru plugin: start it by `toru dev .` in its folder")
    # A host sets this variable for each process that it starts.
    is_attached = "TORU_INSTANCE_ID" not in os.environ
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(path)
        except OSError as error:
            sys.exit(f"TORU_PLUGIN_SOCKET={path}: {error.strerror}: name a path that is free")
        try:
            return accept(listener, path, is_attached), is_attached
        except BaseException:
            # Without a host that has connected, nobody else removes it.
            os.unlink(path)
            raise


def accept(listener, path, is_attached):
    listener.listen(1)
    if is_attached:
        print(f"waiting for a host to attach at {path}", file=sys.stderr, flush=True)
    while True:
        link, _ = listener.accept()
        # A host's own folder lets nobody else in. A developer's path may lie anywhere.
        if not is_attached or peer_user(link) == os.geteuid():
            return link
        link.close()


def peer_user(link):
    _, user, _ = struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return user
