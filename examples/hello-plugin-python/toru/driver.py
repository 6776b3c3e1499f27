"""The only I/O: an asyncio transport on one side, a `Connection` and the handlers on the other."""

import asyncio
import os
import signal
import sys
import traceback

from .connection import Connection
from .frames import CANCELLED, INTERNAL, TIMED_OUT, ProtocolError
from .heads import MAX_INLINE, SWITCHING_PROTOCOLS
from .messages import KvError
from .plugin import Body, Plugin, Refused, Request, as_bytes
from .sockets import host_socket
from .stream import ENDED, HEAD_DUE, StreamEnded

KV_TIMEOUT = 5.0  # seconds


class Driver(asyncio.Protocol):
    def __init__(self, handler, start=None, kv=None, early=b""):
        self.early = early  # what was read from the link already
        self.handler, self.start, self.kv_handler = handler, start, kv
        self.connection, self.plugin = Connection(), Plugin(self)
        self.loop = asyncio.get_running_loop()
        self.ended = self.loop.create_future()  # -> whether in good order
        self.tasks, self.answers, self.waiting = {}, {}, {}
        self.is_writable, self.is_woken, self.is_closing = True, False, False

    # -- the transport

    def connection_made(self, transport):
        self.transport = transport
        # Bytes of a body are taken from their source only as the socket accepts them.
        transport.set_write_buffer_limits(high=0)
        if self.early:
            self.data_received(self.early)

    def data_received(self, data):
        try:
            self.connection.feed(data)
        except ProtocolError as error:
            print(f"the host broke the protocol: {error}", file=sys.stderr)
            return self.transport.abort()
        self.dispatch()
        self.wake()

    def eof_received(self):
        try:
            self.connection.feed_eof()
        except ProtocolError as error:
            print(f"the host broke the protocol: {error}", file=sys.stderr)

    def connection_lost(self, error):
        self.plugin.ending.set()
        for answer in self.answers.values():
            if not answer.done():
                answer.set_exception(KvError("unavailable", "the link to the host is lost"))
        if not self.ended.done():
            self.ended.set_result(self.is_closing)

    def pause_writing(self):
        self.is_writable = False

    def resume_writing(self):
        self.is_writable = True
        self.wake()

    def wake(self):
        """Something is to be written: what is queued in one turn of the loop goes out in one write."""
        if not self.is_woken:
            self.is_woken = True
            self.loop.call_soon(self.flush)

    def flush(self):
        self.is_woken = False
        while self.is_writable and not self.transport.is_closing() and (data := self.connection.transmit()):
            self.transport.write(data)
            self.dispatch()
        self.tell(None, "room")
        if self.is_done() and not self.is_closing:
            self.is_closing = True
            self.transport.close()

    def is_done(self):
        """Whether the host has said shutdown, or was refused, and all is answered and written."""
        connection = self.connection
        over = connection.phase == "refused" or (connection.draining and not connection.numbers.open["peer"])
        return over and not connection.queued and self.is_writable

    # -- what coroutines wait for

    async def until(self, stream, what):
        waiter = self.waiting.get((stream, what))
        if waiter is None:
            waiter = self.waiting[stream, what] = self.loop.create_future()
        await asyncio.shield(waiter)

    def tell(self, stream, what):
        if waiter := self.waiting.pop((stream, what), None):
            waiter.set_result(None)

    async def room(self):
        while not self.connection.has_room():
            await self.until(None, "room")

    # -- events

    def dispatch(self):
        for name, *arguments in self.connection.take_events():
            getattr(self, "on_" + name)(*arguments)

    def on_init(self, init):
        self.plugin.adopt(init)
        self.spawn(None, self.begin())

    def on_request(self, stream, head):
        body = head["body"]
        whole = None if body in ("stream", "tunnel") else body or b""
        self.spawn(stream, self.serve(stream, Request(head, Body(self, stream, whole))))

    def on_kv_call(self, stream, call):
        self.spawn(stream, self.serve_kv(stream, call))

    def on_answer(self, stream, answer):
        waiter = self.answers.get(stream)
        if waiter and not waiter.done():
            waiter.set_result(answer)

    def on_reset(self, stream, code):
        # "forgotten" follows, and wakes who waits for this stream.
        if task := self.tasks.get(stream):
            task.cancel()
        self.on_answer(stream, {"error": "unavailable", "text": f"the host gave the call up, with code {code}"})

    def on_readable(self, stream):
        self.tell(stream, "readable")

    def on_writable(self, stream):
        self.tell(stream, "writable")

    def on_forgotten(self, stream):
        self.tell(stream, "readable")
        self.tell(stream, "writable")
        self.tell(None, "place")

    def on_shutdown(self, grace_ms):
        self.plugin.ending.set()  # `flush` closes when all is done.

    def on_unknown(self, what):
        print(f"the host sent {what}, which is ignored", file=sys.stderr)

    # -- tasks

    def spawn(self, stream, work):
        task = self.tasks[stream] = self.loop.create_task(work)
        task.add_done_callback(lambda _: (self.tasks.pop(stream, None), self.wake()))

    async def begin(self):
        try:
            if self.start:
                await self.start(self.plugin)
            self.connection.ready()
        except Refused as refusal:
            self.connection.refuse(refusal.code, str(refusal))
        except Exception as error:
            traceback.print_exc()
            self.connection.refuse("init_failed", f"{type(error).__name__}: {error}")

    async def serve(self, stream, request):
        connection = self.connection
        try:
            await self.respond(stream, request, await self.handler(request, self.plugin))
        except StreamEnded:
            pass
        except Exception:
            traceback.print_exc()
            if stream.sending == HEAD_DUE:
                connection.respond(stream, 500, [["content-type", "text/plain"]], b"the plugin failed\n")
        finally:
            if stream.sending != ENDED and not stream.finishing:
                connection.reset(stream, INTERNAL)
            connection.discard(stream)

    async def respond(self, stream, request, response):
        connection, body = self.connection, response.body
        await self.room()
        if response.status in (204, 304) or request.method == "HEAD":
            body = b""
        if response.status == SWITCHING_PROTOCOLS:
            connection.respond(stream, response.status, response.headers, "tunnel")
        elif isinstance(body, bytes):
            return connection.respond(stream, response.status, response.headers, body or None)
        elif "streams" not in connection.in_force:
            return connection.respond(stream, response.status, response.headers, await collect(body))
        else:
            connection.respond(stream, response.status, response.headers, "stream")
        chunks = body.__aiter__()
        try:
            async for chunk in chunks:
                connection.send(stream, chunk)
                self.wake()
                while stream.unsent:
                    await self.until(stream, "writable")
        finally:
            if hasattr(chunks, "aclose"):
                await chunks.aclose()
        connection.finish(stream)

    async def serve_kv(self, stream, call):
        try:
            if self.kv_handler is None:
                raise KvError("unknown_action", "this plugin answers no KV calls")
            answer = {"value": as_bytes(await self.kv_handler(call, self.plugin))}
            await self.room()
            self.connection.answer_call(stream, answer)
        except KvError as error:
            self.connection.answer_call(stream, error)
        except Exception:
            traceback.print_exc()
            self.connection.answer_call(stream, KvError("unavailable", "the plugin failed"))

    # -- what the plugin asks of the host

    async def call(self, payload, expected):
        """A KV call. Who is cancelled while it waits gives the call up."""
        connection = self.connection
        await self.room()
        while not connection.can_call():
            if connection.phase not in ("deciding", "open"):
                raise KvError("unavailable", "the link to the host is closed")
            await self.until(None, "place")
        stream = connection.call(payload)
        answer = self.answers[stream] = self.loop.create_future()
        self.wake()
        try:
            answer = await asyncio.wait_for(answer, KV_TIMEOUT)
        except asyncio.TimeoutError:
            connection.reset(stream, TIMED_OUT)
            raise KvError("timeout", "no answer came; a write may or may not have happened") from None
        except asyncio.CancelledError:
            connection.reset(stream, CANCELLED)
            raise
        finally:
            del self.answers[stream]
            self.wake()
        if "error" in answer:
            raise KvError(answer["error"], answer["text"])
        if expected not in answer:
            raise KvError("invalid", "the host answered something else")
        return answer

    def notice(self, kind, payload):
        self.connection.notice(kind, payload)
        self.wake()


async def collect(body):
    """A body for a host that takes no streams."""
    pieces, size = [], 0
    async for piece in body:
        size += len(piece)
        if size > MAX_INLINE:
            raise ValueError(f"the host takes no body above {MAX_INLINE} bytes")
        pieces.append(piece)
    return b"".join(pieces)


def run(handler, start=None, kv=None):
    """Serves until the host ends the plugin.

    `async handler(request, plugin)` gives a Response. `async start(plugin)` is called before the first request,
    and may raise Refused. `async kv(call, plugin)` answers the host's KV calls: it gets a dictionary with
    `action`, `key` and, for set, `value`, and gives the value or None. All of them share one event loop: what
    blocks belongs into `asyncio.to_thread`.
    """
    link, early, is_attached = host_socket()
    link.set_inheritable(False)
    link.setblocking(False)
    if not asyncio.run(serve(link, is_attached, handler, start, kv, early)):
        sys.exit(1)


async def serve(link, is_attached, *driven):
    """Whether the link ended in good order. The end of one that a developer has attached is none of a failure."""
    driver = Driver(*driven)
    await driver.loop.create_connection(lambda: driver, sock=link)
    in_order = await driver.ended
    if not in_order and not is_attached:
        end_group()
    return driver.connection.phase != "refused"


def end_group():
    """The life line is cut: nobody could stop this plugin any more, nor what it has started."""
    print("the link to the host is lost: ending this plugin and what it started", file=sys.stderr, flush=True)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
