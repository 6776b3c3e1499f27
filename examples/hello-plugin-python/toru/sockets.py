"""Where the connection to the host comes from."""

import errno
import os
import select
import socket
import stat
import struct
import sys

from .connection import Connection
from .frames import ProtocolError

# Connections that have said nothing yet and are listened to. One more costs the eldest its place, so that none of them keeps the host
# out; and so many do not come between a host's connect and its first word.
MAX_GUESTS = 64
READ = 64 << 10  # bytes


def host_socket():
    """The connection to the host, what was read from it, and whether a developer has it attached: nobody but the terminal ends it then.

    It is the socket that the host passed on, or the first connection to the path on which a host says `init`.
    """
    if number := os.environ.get("TORU_PLUGIN_FD"):
        return socket.socket(fileno=int(number)), b"", False
    if not (path := os.environ.get("TORU_PLUGIN_SOCKET")):
        sys.exit("this is a Toru plugin: start it by `toru dev .` in its folder")
    # A host sets this variable for each process that it starts.
    is_attached = "TORU_INSTANCE_ID" not in os.environ
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            bind(listener, path, is_attached)
        except OSError as error:
            sys.exit(f"TORU_PLUGIN_SOCKET={path}: {error.strerror or error}: name a path that is free")
        try:
            listener.listen()
            if is_attached:
                print(f"waiting for a host to attach at {path}", file=sys.stderr, flush=True)
            return *await_host(listener), is_attached
        except BaseException:
            # Without a host that has connected, nobody else removes it.
            os.unlink(path)
            raise


def bind(listener, path, is_attached):
    if not is_attached:
        # A host's own folder is fresh, and lets nobody else in. A developer's path may lie anywhere.
        return listener.bind(path)
    if is_left_behind(path):
        os.unlink(path)
    listener.bind(path)
    os.chmod(path, 0o600)


def is_left_behind(path):
    """Whether it is the socket of a plugin that was killed while it waited: nobody listens on it any more."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return False
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == errno.ECONNREFUSED


class Guest:
    """Who has connected. It is a host once it has said `init`, and none once it has said anything else, or has gone."""

    def __init__(self, link):
        self.link, self.said = link, b""
        self.reader, self.is_none = Connection(), peer_user(link) != os.geteuid()

    def fileno(self):
        return self.link.fileno()

    def is_host(self):
        """Reads what it says."""
        try:
            said = self.link.recv(READ)
            self.said += said
            self.reader.feed(said)
            self.is_none |= not said
        except (OSError, ProtocolError) as error:
            print(f"a connection was no host's: {error}", file=sys.stderr, flush=True)
            self.is_none = True
        return not self.is_none and self.reader.phase != "init"


def await_host(listener):
    """The first connection on which a host of this user says `init`, and what was read from it. Who connects and does not is let go."""
    guests = []  # the eldest first
    try:
        while True:
            for speaker in select.select([listener, *guests], [], [])[0]:
                if speaker is listener:
                    guests.append(Guest(listener.accept()[0]))
                elif speaker.is_host():
                    guests.remove(speaker)
                    return speaker.link, speaker.said
            stay = [guest for guest in guests if not guest.is_none][-MAX_GUESTS:]
            for guest in guests:
                if guest not in stay:
                    guest.link.close()
            guests = stay
    finally:
        for guest in guests:
            guest.link.close()


def peer_user(link):
    _, user, _ = struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return user
