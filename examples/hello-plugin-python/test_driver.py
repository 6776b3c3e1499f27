"""The driver and the handlers against a host that is played frame by frame, over a real socket."""

import asyncio
import os
import socket
import unittest
from unittest import mock

from test_connection import INIT, request
from test_vectors import meaning_of
from toru import KvError, Refused, Response, driver, frames, messages

WINDOW = frames.DEFAULTS["window"]
HANG_GUARD = 30  # seconds; nothing is measured by it


class Host:
    """The host's end of a link."""

    def __init__(self, link):
        self.link, self.decoder = link, frames.Decoder()

    @classmethod
    async def meet(cls, handler=None, start=None, kv=None, ready=True, **init):
        own, others = socket.socketpair()
        loop, host = asyncio.get_running_loop(), cls(own)
        own.setblocking(False)
        host.driver = driver.Driver(handler, start, kv)
        await loop.create_connection(lambda: host.driver, sock=others)
        await host.say("lifecycle", {**INIT, **init})
        if ready:
            assert (await host.hear())["is"] == "ready"
        return host

    async def close(self):
        self.driver.transport.abort()
        self.link.close()
        await self.driver.ended

    async def say(self, kind, payload, number=None):
        await self.write(messages.encode(kind, payload, number))

    async def send(self, *frame):
        for each in frame:
            await self.write(frames.encode(each))

    async def write(self, data):
        await asyncio.get_running_loop().sock_sendall(self.link, data)

    async def hear(self):
        """The next frame, as a meaning; None at the end of the connection."""
        while (frame := self.decoder.next()) is None:
            data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.link, 1 << 20), HANG_GUARD)
            if not data:
                return None
            self.decoder.feed(data)
        return meaning_of(frame)

    async def hear_all(self, *names):
        heard = [await self.hear() for _ in names]
        assert [frame and frame["is"] for frame in heard] == list(names), heard
        return heard


class LinkTest(unittest.IsolatedAsyncioTestCase):
    async def meet(self, *arguments, **more):
        host = await Host.meet(*arguments, **more)
        self.addAsyncCleanup(host.close)
        return host


class Requests(LinkTest):
    async def test_an_echo_streams_under_credit(self):
        async def echo(request, plugin):
            return Response(200, {}, request.body)

        host, body = await self.meet(echo), os.urandom(5 * WINDOW + 7)
        await host.write(request(1, body_stream=True))
        credit, at, back, ended = WINDOW, 0, b"", False
        while not ended:
            chunk = body[at : at + min(credit, 20_000)]
            if chunk:
                at, credit = at + len(chunk), credit - len(chunk)
                await host.send(frames.Data(1, at == len(body), chunk))
                if at < len(body) and credit:
                    continue
            frame = await host.hear()
            if frame["is"] == "credit":
                credit += frame["n"]
                self.assertLessEqual(credit, WINDOW)
            elif frame["is"] == "data":
                back, ended = back + frame["bytes"], frame["end"]
                if frame["bytes"]:
                    await host.send(frames.Credit(1, len(frame["bytes"])))
        self.assertTrue(back == body)

    async def test_a_body_that_arrives_with_its_head_is_read(self):
        async def handler(request, plugin):
            return Response(200, {}, await request.body.read(10))

        host = await self.meet(handler)
        await host.write(request(1, body_stream=True) + frames.encode(frames.Data(1, True, b"whole")))
        self.assertEqual((await host.hear_all("response"))[0]["body"], b"whole")

    async def test_a_reader_that_stops_stops_the_source(self):
        taken = 0

        async def endless():
            nonlocal taken
            while True:
                taken += 1
                yield bytes(WINDOW // 4)

        async def handler(request, plugin):
            return Response(200, {}, endless())

        host = await self.meet(handler)
        await host.write(request(1))
        await host.hear_all("response", "data", "data", "data", "data")
        await host.say("lifecycle", {"action": "ping"})
        await host.hear_all("pong")
        self.assertLessEqual(taken, 5, "one chunk waits beyond the credit")

    async def test_a_client_that_leaves_cancels_the_handler(self):
        started, cancelled = asyncio.Event(), asyncio.Event()

        async def handler(request, plugin):
            started.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

        host = await self.meet(handler)
        await host.write(request(1))
        await started.wait()
        await host.send(frames.Reset(1, frames.CANCELLED))
        self.assertEqual((await host.hear_all("reset"))[0]["code"], frames.DONE)
        await asyncio.wait_for(cancelled.wait(), HANG_GUARD)

    async def test_a_handler_that_fails_is_a_500(self):
        async def handler(request, plugin):
            raise ZeroDivisionError

        host = await self.meet(handler)
        with mock.patch("traceback.print_exc"):
            await host.write(request(1))
            self.assertEqual((await host.hear_all("response"))[0]["status"], 500)

    async def test_a_handler_that_fails_after_its_head_is_reset_with_3(self):
        async def body():
            yield b"half"
            raise ZeroDivisionError

        async def handler(request, plugin):
            return Response(200, {}, body())

        host = await self.meet(handler)
        with mock.patch("traceback.print_exc"):
            await host.write(request(1))
            heard = await host.hear_all("response", "data", "reset")
        self.assertEqual(heard[-1]["code"], frames.INTERNAL)

    async def test_headers_cannot_be_injected(self):
        with self.assertRaises(ValueError):
            Response(200, {"a": "b\r\nc: d"})
        with self.assertRaises(ValueError):
            Response(99)

    async def test_an_answer_to_head_has_no_body(self):
        async def handler(request, plugin):
            return Response(200, {}, "text")

        host = await self.meet(handler)
        payload = {"action": "request", "method": "HEAD", "path": "/", "headers": []}
        await host.say("http", payload, 1)
        self.assertEqual((await host.hear_all("response"))[0]["body"], "none")

    async def test_a_body_has_a_limit_of_the_handlers(self):
        async def handler(request, plugin):
            try:
                return Response(200, {}, await request.body.read(3))
            except ValueError as error:
                return Response(413, {}, str(error))

        host = await self.meet(handler)
        await host.write(request(1, body="abc"))
        self.assertEqual((await host.hear_all("response"))[0]["body"], b"abc")
        await host.write(request(3, body="abcd"))
        self.assertEqual((await host.hear_all("response"))[0]["status"], 413)

    async def test_a_host_without_streams_gets_the_body_whole(self):
        async def body():
            yield b"one"
            yield b"two"

        async def handler(request, plugin):
            return Response(200, {}, body())

        host = await self.meet(handler, features=[])
        await host.write(request(1))
        self.assertEqual((await host.hear_all("response"))[0]["body"], b"onetwo")

    async def test_an_upgrade_is_a_stream_both_ways(self):
        async def handler(request, plugin):
            return Response(101, {"upgrade": "echo"}, request.body)

        host = await self.meet(handler)
        payload = {"action": "request", "method": "GET", "path": "/", "headers": [], "upgrade": "echo"}
        await host.say("http", payload, 1)
        self.assertEqual((await host.hear_all("response"))[0]["body"], "tunnel")
        await host.send(frames.Data(1, False, b"hi"))
        self.assertEqual((await host.hear_all("data"))[0]["bytes"], b"hi")
        await host.send(frames.Data(1, True, b""))
        self.assertTrue((await host.hear_all("data"))[0]["end"])


class Kv(LinkTest):
    async def test_a_call_crosses_the_link(self):
        async def handler(request, plugin):
            await plugin.kv.set("k", b"\xff")
            return Response(200, {}, await plugin.kv.get("k"))

        host = await self.meet(handler)
        await host.write(request(1))
        await host.hear_all("kv_call")
        await host.say("kv", {"ok": True}, 2)
        self.assertEqual((await host.hear_all("kv_call"))[0]["key"], "k")
        await host.say("kv", {"value_base64": "/w=="}, 4)
        self.assertEqual((await host.hear_all("response"))[0]["body"], b"\xff")

    async def test_an_error_of_the_host_is_raised(self):
        async def handler(request, plugin):
            try:
                await plugin.kv.set("k", b"")
            except KvError as error:
                return Response(507, {}, error.code)

        host = await self.meet(handler)
        await host.write(request(1))
        await host.hear_all("kv_call")
        await host.say("kv", {"action": "error", "error": {"code": "storage_full", "message": "m"}}, 2)
        self.assertEqual((await host.hear_all("response"))[0]["body"], b"storage_full")

    async def test_a_cancelled_handler_gives_its_call_up(self):
        async def handler(request, plugin):
            await plugin.kv.get("k")

        host = await self.meet(handler)
        await host.write(request(1))
        await host.hear_all("kv_call")
        await host.send(frames.Reset(1, frames.CANCELLED))
        heard = await host.hear_all("reset", "reset")
        self.assertEqual([(frame["stream"], frame["code"]) for frame in heard], [(1, 0), (2, frames.CANCELLED)])

    async def test_a_call_without_an_answer_times_out(self):
        async def handler(request, plugin):
            try:
                await plugin.kv.get("k")
            except KvError as error:
                return Response(504, {}, error.code)

        host = await self.meet(handler)
        with mock.patch.object(driver, "KV_TIMEOUT", 0):
            await host.write(request(1))
            heard = await host.hear_all("kv_call", "reset", "response")
        self.assertEqual((heard[1]["code"], heard[2]["body"]), (frames.TIMED_OUT, b"timeout"))

    async def test_calls_wait_for_a_place(self):
        async def handler(request, plugin):
            values = await asyncio.gather(plugin.kv.get("a"), plugin.kv.get("b"))
            return Response(200, {}, b"".join(values))

        host = await self.meet(handler, max_streams=1)
        await host.write(request(1))
        for number, key in ((2, "a"), (4, "b")):
            self.assertEqual((await host.hear_all("kv_call"))[0]["key"], key)
            await host.say("kv", {"value": key}, number)
        self.assertEqual((await host.hear_all("response"))[0]["body"], b"ab")

    async def test_calls_of_the_host_reach_their_handler(self):
        async def kv(call, plugin):
            return call["key"].encode()

        host = await self.meet(kv=kv)
        await host.say("kv", {"action": "GET", "key": "k"}, 1)
        self.assertEqual((await host.hear_all("kv_answer"))[0]["value"], b"k")

    async def test_without_a_handler_the_hosts_calls_are_refused(self):
        host = await self.meet()
        await host.say("kv", {"action": "get", "key": "k"}, 1)
        self.assertEqual((await host.hear_all("kv_answer"))[0]["error"], "unknown_action")


class Life(LinkTest):
    async def test_the_start_may_use_values_and_settings(self):
        async def start(plugin):
            self.assertEqual((plugin.config, plugin.id), ({"a": 1}, "p"))
            self.assertEqual(await plugin.kv.get("k"), None)
            plugin.log("info", "started", fast=True)

        host = await self.meet(start=start, ready=False, config={"a": 1})
        await host.hear_all("kv_call")
        await host.say("kv", {"value": None}, 2)
        await host.hear_all("log", "ready")

    async def test_a_plugin_may_refuse_to_run(self):
        async def start(plugin):
            raise Refused("no_licence", "set `licence`")

        host = await self.meet(start=start, ready=False)
        self.assertEqual((await host.hear_all("failed", None))[0]["code"], "no_licence")

    async def test_shutdown_finishes_what_is_in_flight(self):
        released = asyncio.Event()

        async def handler(request, plugin):
            await released.wait()
            return Response(200)

        host = await self.meet(handler)
        await host.write(request(1))
        await host.say("lifecycle", {"action": "shutdown", "grace_ms": 5_000})
        await host.write(request(3))
        self.assertEqual((await host.hear_all("reset"))[0]["code"], frames.REFUSED)
        released.set()
        await host.hear_all("response", None)
        self.assertTrue(await host.driver.ended)

    async def test_an_endless_answer_ends_when_it_is_told_of_the_shutdown(self):
        async def handler(request, plugin):
            async def body():
                yield b"one"
                await plugin.shutting_down()
                yield b"last"

            return Response(200, {}, body())

        host = await self.meet(handler)
        await host.write(request(1))
        await host.hear_all("response", "data")
        await host.say("lifecycle", {"action": "shutdown", "grace_ms": 5_000})
        heard = await host.hear_all("data", "data", None)
        self.assertEqual([(frame["bytes"], frame["end"]) for frame in heard[:2]], [(b"last", False), (b"", True)])
        self.assertTrue(await host.driver.ended)

    async def test_a_lost_link_is_no_good_end(self):
        host = await self.meet()
        host.link.close()
        self.assertFalse(await host.driver.ended)
        await host.driver.plugin.shutting_down()

    async def test_a_ping_says_how_the_plugin_is(self):
        host = await self.meet()
        host.driver.plugin.degraded("the disk is slow")
        await host.say("lifecycle", {"action": "ping"})
        heard = (await host.hear_all("pong"))[0]
        self.assertEqual((heard["status"], heard["detail"]), ("degraded", "the disk is slow"))


if __name__ == "__main__":
    unittest.main()
