"""main.py as a process: the socket that it inherits or listens on, and its end."""

import asyncio
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

from test_connection import INIT, request
from test_driver import HANG_GUARD, Host

FOLDER = pathlib.Path(__file__).parent


class Process(unittest.IsolatedAsyncioTestCase):
    """main.py as the host starts it: in a group of its own, with a socket that it inherits."""

    async def start(self):
        own, others = socket.socketpair()
        process = subprocess.Popen(
            [sys.executable, "main.py"],
            cwd=FOLDER,
            env={**os.environ, "TORU_PLUGIN_FD": str(others.fileno())},
            pass_fds=[others.fileno()],
            start_new_session=True,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.addCleanup(own.close)
        others.close()
        own.setblocking(False)
        host = Host(own)
        await host.say("lifecycle", INIT)
        await host.hear_all("ready")
        return host, process

    def listen(self, **more):
        """main.py that listens on a path; its process, and the path."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = os.path.join(folder.name, "plugin.sock")
        return self.listen_on(path, **more), path

    def listen_on(self, path, **more):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TORU_")}
        process = subprocess.Popen(
            [sys.executable, "main.py"],
            cwd=FOLDER,
            env={**environment, **more, "TORU_PLUGIN_SOCKET": path},
            start_new_session=True,
            stderr=subprocess.PIPE,
        )
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    async def reach(self, path):
        """A connection to it, as soon as it listens."""
        own = socket.socket(socket.AF_UNIX)
        self.addCleanup(own.close)
        async with asyncio.timeout(HANG_GUARD):
            while own.connect_ex(path) != 0:
                await asyncio.sleep(0.001)  # as a host does
        own.setblocking(False)
        return own

    async def shake_hands(self, path):
        host = Host(await self.reach(path))
        await host.say("lifecycle", INIT)
        await host.hear_all("ready")
        return host

    async def listening(self, **more):
        """main.py that listens on a path; its process, and the end of a host that has connected and shaken hands."""
        process, path = self.listen(**more)
        return await self.shake_hands(path), process

    async def test_a_plugin_by_path_shakes_hands_and_dies_with_its_host(self):
        host, process = await self.listening(TORU_INSTANCE_ID="2f6")
        host.link.close()
        self.assertEqual(process.wait(HANG_GUARD), -signal.SIGKILL)

    async def test_a_plugin_that_is_attached_by_hand_ends_well_and_kills_nothing(self):
        host, process = await self.listening()
        host.link.close()
        self.assertEqual(process.wait(HANG_GUARD), 0)
        self.assertIn(b"waiting for a host to attach", process.stderr.read())

    async def test_who_connects_and_is_no_host_neither_keeps_the_host_out_nor_ends_the_plugin(self):
        for variables in ({}, {"TORU_INSTANCE_ID": "2f6"}):
            with self.subTest(variables):
                process, path = self.listen(**variables)
                (await self.reach(path)).close()
                browser = Host(await self.reach(path))
                await browser.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
                self.assertIsNone(await browser.hear())
                half = await self.reach(path)
                half.send(b"\0\0\1\0{")
                silent = [await self.reach(path) for _ in range(100)]
                host = await self.shake_hands(path)
                self.assertIsNone(await Host(silent[-1]).hear())
                await host.write(request(1, path="/json"))
                self.assertEqual((await host.hear_all("response"))[0]["status"], 200)
                host.link.close()
                process.wait(HANG_GUARD)
                self.assertIn(b"a connection was no host's", process.stderr.read())

    async def test_a_socket_that_a_killed_plugin_has_left_is_replaced_and_one_in_use_is_not(self):
        killed, path = self.listen()
        await self.reach(path)
        killed.kill()
        killed.wait()
        process = self.listen_on(path)
        self.assertIn(b"waiting for a host", await asyncio.to_thread(process.stderr.readline))
        second = self.listen_on(path)
        self.assertEqual(await asyncio.to_thread(second.wait, HANG_GUARD), 1)
        self.assertIn(b"name a path that is free", second.stderr.read())
        host = await self.shake_hands(path)
        host.link.close()
        self.assertEqual(process.wait(HANG_GUARD), 0)

    async def test_shutdown_exits_with_0(self):
        host, process = await self.start()
        await host.say("lifecycle", {"action": "shutdown"})
        await host.hear_all(None)
        self.assertEqual(process.wait(HANG_GUARD), 0)

    async def test_the_end_of_the_life_line_kills_the_group(self):
        host, process = await self.start()
        host.link.close()
        self.assertEqual(process.wait(HANG_GUARD), -signal.SIGKILL)

    async def test_a_broken_protocol_ends_the_plugin(self):
        host, process = await self.start()
        await host.write(bytes(4))
        self.assertEqual(process.wait(HANG_GUARD), -signal.SIGKILL)


if __name__ == "__main__":
    unittest.main()
