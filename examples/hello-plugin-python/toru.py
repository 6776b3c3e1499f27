"""The Toru plugin protocol, version 2, on the standard library alone.

Read it from the top: frames, messages, `Connection` (no I/O: bytes in, bytes and events out), and at
the end the asyncio driver that `run(handler)` starts. docs/plugins/PROTOCOL.md says why each rule is there.
"""

import asyncio
import base64
import binascii
import json
import os
import re
import signal
import socket
import struct
import sys
import traceback

# ---------------------------------------------------------------------------------------- frames

MESSAGE, DATA, CREDIT, RESET, HEAD = 0x7B, 1, 2, 3, 4
DONE, CANCELLED, TIMED_OUT, INTERNAL, REFUSED, TOO_LARGE = range(6)
DEFAULTS = {"window": 65_536, "max_streams": 1_024, "max_message": 1_048_576, "max_data": 262_144}
LOWEST = {"window": 1, "max_streams": 1, "max_message": 65_536, "max_data": 1_024}
MAX_NUMBER = 2**31 - 1  # of a window, of max_streams, of the sum of credit
MAX_INLINE = 512 * 1024  # an inline body, or the values of one KV message
MAX_DEPTH = 64
DATA_CHUNK = 64 * 1024  # of one DATA frame, so that streams take turns


class ProtocolError(Exception):
    """The peer broke the protocol: the connection ends. `cause` is the name that the vectors use."""

    def __init__(self, cause, text=""):
        super().__init__(f"{cause}: {text}" if text else cause)
        self.cause = cause


def frame(kind, *parts):
    length = 1 + sum(map(len, parts))
    return b"".join((struct.pack(">IB", length, kind), *parts))


def message_frame(message):
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
    return struct.pack(">I", len(text)) + text


def decode(buffer, limits):
    """The first frame of `buffer` as (frame, bytes used), or None while it is not whole."""
    if len(buffer) < 4:
        return None
    length = int.from_bytes(buffer[:4], "big")
    if length == 0:
        raise ProtocolError("frame_empty")
    if length > max(limits["max_message"], limits["max_data"] + 6):
        raise ProtocolError("frame_too_large")
    if len(buffer) < 5:
        return None
    kind = buffer[4]
    if kind not in (MESSAGE, DATA, CREDIT, RESET, HEAD):
        raise ProtocolError("frame_unknown_kind")
    if length > (limits["max_data"] + 6 if kind == DATA else limits["max_message"]):
        raise ProtocolError("frame_too_large")
    exact = {CREDIT: 10, RESET: 6}.get(kind, length)
    if length != exact or (kind in (DATA, HEAD) and length < 6):
        raise ProtocolError("frame_wrong_length")
    if len(buffer) < 4 + length:
        return None
    payload = bytes(memoryview(buffer)[4 : 4 + length])
    return parse_payload(kind, payload), 4 + length


def parse_payload(kind, payload):
    if kind == MESSAGE:
        return ("message", parse_json(payload))
    flags, stream = payload[1], int.from_bytes(payload[2:6], "big")
    if kind == RESET:
        return ("reset", stream, flags)
    if kind == CREDIT:
        if flags:
            raise ProtocolError("frame_undefined_flag")
        return ("credit", stream, int.from_bytes(payload[6:10], "big"))
    if kind == HEAD:
        if flags & 0xF0 or flags & 5 == 5:
            raise ProtocolError("frame_undefined_flag")
        return ("head", stream, flags, payload[6:])
    if flags > 1:
        raise ProtocolError("frame_undefined_flag")
    if not flags and len(payload) == 6:
        raise ProtocolError("data_empty")
    return ("data", stream, bool(flags), payload[6:])


# -------------------------------------------------------------------------------------- messages


def parse_json(payload):
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        raise ProtocolError("message_not_utf8") from None
    check_depth(text)
    try:
        message = json.loads(text, object_pairs_hook=pairs_to_dict, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("message_not_json", str(error)) from None
    if not isinstance(message, dict):
        raise ProtocolError("message_not_json", "no object")
    return message


class Repeated(dict):
    """An object in which `again` are the keys that came more than once."""

    again = ()


def pairs_to_dict(pairs):
    whole = Repeated(pairs)
    if len(whole) != len(pairs):
        names = [name for name, _ in pairs]
        whole.again = tuple(name for name in whole if names.count(name) > 1)
    for name, value in pairs:
        for text in (name, value):
            if isinstance(text, str) and not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
                raise ProtocolError("message_lone_surrogate")
    return whole


def refuse_constant(name):
    raise ValueError(f"{name} is not JSON")


def check_depth(text):
    """Before parsing, so that no depth of nesting can exhaust the stack."""
    depth = 0
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', text):
        token = match.group()
        if token in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ProtocolError("message_too_deep")
        elif token in "]}":
            depth -= 1


def inline_body(payload):
    """The bytes of the body inside of a head, or None; and whether DATA follows."""
    forms = [name for name in ("body", "body_base64", "body_stream") if payload.get(name) not in (None, False)]
    if len(forms) > 1:
        raise ProtocolError("message_two_bodies")
    if not forms:
        return None, False
    if forms == ["body_stream"]:
        return None, True
    return bytes_of(payload, "body"), False


def bytes_of(payload, name):
    """A value that comes as text, as base64 or not at all."""
    if payload.get(name + "_base64") is not None:
        try:
            return base64.b64decode(payload[name + "_base64"], validate=True)
        except (binascii.Error, ValueError, TypeError):
            raise ProtocolError("message_bad_base64") from None
    text = payload.get(name)
    return None if text is None else text.encode()


def text_or_base64(name, value):
    """The field for these bytes: text when they are text and that is not longer."""
    coded = base64.b64encode(value).decode()
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return {name + "_base64": coded}
    return {name: text} if len(json.dumps(text, ensure_ascii=False).encode()) <= len(coded) + 9 else {name + "_base64": coded}


# ------------------------------------------------------------------------------------ connection


class Stream:
    """A request or a call: two directions, each ended by itself and each with its credit.

    sending, receiving: that direction is open. A stream is forgotten when neither is.
    discarding: this side has sent RESET and waits for the peer's end.
    """

    def __init__(self, number, credit, allowed):
        self.number, self.credit, self.allowed = number, credit, allowed
        self.sending = self.receiving = True
        self.discarding = self.answered = self.finishing = False
        self.reset_code = None
        self.received, self.unacknowledged = [], 0
        self.queued = bytearray()


class Connection:
    """The plugin's end of a link. `feed` bytes, take `events`, send what `transmit` gives."""

    def __init__(self, limits=None, features=("streams",)):
        self.limits, self.features = {**DEFAULTS, **(limits or {})}, tuple(features)
        self.peer, self.peer_features = dict(DEFAULTS), ()
        self.phase = "init"  # -> "starting" -> "open" -> "draining" -> "closed"
        self.buffer, self.out, self.events = bytearray(), bytearray(), []
        self.streams, self.turns = {}, []
        self.last = {1: None, 0: None}  # the last number opened: by the host (odd), by this side (even)
        self.calls = {}

    # -- what arrives

    def feed(self, data):
        self.buffer += data
        while decoded := decode(self.buffer, self.limits if self.phase != "init" else DEFAULTS):
            (kind, *fields), used = decoded
            del self.buffer[:used]
            getattr(self, "on_" + kind)(*fields)

    def feed_eof(self):
        if self.buffer:
            raise ProtocolError("frame_cut_off")
        self.phase = "closed"

    def find(self, number):
        """The open stream of this number; None when it is forgotten."""
        stream = self.streams.get(number)
        last = self.last[number % 2]
        if stream is None and (number == 0 or last is None or is_after(number, last)):
            raise ProtocolError("stream_not_opened")
        return stream

    def on_data(self, number, end, data):
        stream = self.must_receive(number)
        if len(data) > stream.allowed:
            raise ProtocolError("credit_exceeded")
        stream.allowed -= len(data)
        if end:
            self.end_receiving(stream)
        if stream.discarding:
            self.consumed(stream, len(data))
            return
        if data:
            stream.received.append(data)
        self.events.append(("readable", number))

    def on_credit(self, number, n):
        if n == 0:
            raise ProtocolError("credit_zero")
        stream = self.open_phase_find(number)
        if stream and stream.sending:
            stream.credit += n
            if stream.credit > MAX_NUMBER:
                raise ProtocolError("credit_overflow")

    def on_reset(self, number, code):
        stream = self.open_phase_find(number)
        if not stream:
            return
        stream.reset_code = code
        if stream.sending:
            self.send_reset(number, DONE)
            self.end_sending(stream)
        self.end_receiving(stream)
        if not stream.discarding:
            self.events.append(("reset", number, code))

    def on_head(self, number, flags, head):
        raise ProtocolError("head_not_negotiated")

    def must_receive(self, number):
        stream = self.open_phase_find(number)
        if not stream or not stream.receiving:
            raise ProtocolError("stream_ended")
        return stream

    def open_phase_find(self, number):
        if self.phase in ("init", "starting"):
            raise ProtocolError("handshake")
        return self.find(number)

    def on_message(self, message):
        for level in (message, message.get("payload")):
            if isinstance(level, Repeated) and set(level.again) & DEFINED_KEYS:
                raise ProtocolError("message_repeated_key")
        payload = message.get("payload") if isinstance(message.get("payload"), dict) else {}
        kind, action = message.get("type"), str(payload.get("action", "")).lower()
        number = stream_number(message.get("request_id"))
        if self.phase == "init":
            if (kind, action) != ("lifecycle", "init"):
                raise ProtocolError("handshake", "the first message is not init")
            return self.on_init(payload)
        if self.phase == "starting" and not (kind == "kv" and number and number % 2 == 0):
            raise ProtocolError("handshake", "something came between init and ready")
        if kind == "lifecycle" and action == "ping" and number is None:
            self.send("lifecycle", {"action": "pong", "status": "ok"})
        elif kind == "lifecycle" and action == "shutdown":
            self.phase = "draining"
            self.events.append(("shutdown", payload.get("grace_ms", 0)))
        elif number is not None and number % 2 == 1:
            self.on_opening(number, kind, action, payload)
        elif number is not None:
            self.on_answer(number, payload)
        # Anything else is not known here, and opens no stream: it is ignored.

    def on_init(self, payload):
        self.peer = read_numbers(payload)
        self.peer_features = tuple(payload.get("features") or ())
        self.phase = "starting"
        self.events.append(("init", payload))

    def on_opening(self, number, kind, action, payload):
        last = self.last[1]
        if number in self.streams or (last is not None and not is_after(number, last)):
            raise ProtocolError("stream_number")
        self.last[1] = number
        if sum(n % 2 for n in self.streams) >= self.limits["max_streams"]:
            raise ProtocolError("too_many_streams")
        stream = self.streams[number] = Stream(number, self.peer["window"], self.limits["window"])
        if kind == "http" and action == "request":
            body, streamed = inline_body(payload)
            # `upgrade` is an offer: this plugin never takes one, and answers it as any request.
            if not streamed and "upgrade" not in payload:
                self.end_receiving(stream)
            if self.phase == "draining":
                return self.reset(number, REFUSED)
            self.events.append(("request", number, payload, body, streamed))
        else:
            self.end_receiving(stream)
            text = f"this plugin knows no {kind} {action}"
            self.answer(number, kind, {"action": "error", "error": {"code": "unknown_action", "message": text}})

    def on_answer(self, number, payload):
        stream = self.must_receive(number)
        self.end_receiving(stream)
        if not stream.discarding:
            self.events.append(("answer", number, payload))

    # -- what this side wants

    def send(self, kind, payload, number=None):
        message = {"type": kind, "payload": payload}
        if number is not None:
            message["request_id"] = str(number)
        self.out += message_frame(message)

    def ready(self):
        self.phase = "open"
        numbers = {name: value for name, value in self.limits.items()}
        self.send("lifecycle", {"action": "ready", "protocol": 2, "features": list(self.features), **numbers})

    def refuse(self, code, text):
        self.phase = "closed"
        self.send("lifecycle", {"action": "failed", "code": code, "message": text})

    def call(self, kind, payload):
        """Opens a stream of this side's own; the answer comes as an event."""
        number = self.last[0] + 2 & 0xFFFFFFFF if self.last[0] is not None else 2
        while number in self.streams or number == 0:
            number = number + 2 & 0xFFFFFFFF
        self.last[0] = number
        stream = self.streams[number] = Stream(number, 0, 0)
        self.send(kind, payload, number)
        self.end_sending(stream)
        return number

    def answer(self, number, kind, payload):
        """A message that is the whole answer."""
        if (stream := self.streams.get(number)) and stream.sending:
            self.send(kind, payload, number)
            self.end_sending(stream)

    def respond(self, number, status, headers, body=b"", streamed=False):
        stream = self.streams.get(number)
        if not stream or not stream.sending:
            return
        payload = {"action": "response", "status": status, "headers": headers}
        if not streamed and len(body) <= min(MAX_INLINE, self.peer["window"]):
            payload |= text_or_base64("body", body) if body else {}
            if len(json.dumps(payload, ensure_ascii=False).encode()) + 64 <= self.peer["max_message"]:
                return self.answer(number, "http", payload)
            payload.pop("body", None), payload.pop("body_base64", None)
        self.send("http", payload | {"body_stream": True}, number)
        stream.answered = True
        if not streamed:
            self.write(number, body)
            self.finish(number)

    def write(self, number, data):
        """Queues body bytes; give more when `queued` is 0 again."""
        if (stream := self.streams.get(number)) and stream.sending:
            stream.queued += data
            if number not in self.turns:
                self.turns.append(number)

    def queued(self, number):
        stream = self.streams.get(number)
        return len(stream.queued) if stream else 0

    def finish(self, number):
        if (stream := self.streams.get(number)) and stream.sending:
            stream.finishing = True
            if number not in self.turns:
                self.turns.append(number)

    def read(self, number):
        """(bytes or None, whether the direction has ended). What is taken is acknowledged."""
        stream = self.streams.get(number)
        if not stream:
            return None, True
        data = b"".join(stream.received) or None
        stream.received.clear()
        if data:
            self.consumed(stream, len(data))
        return data, not stream.receiving

    def consumed(self, stream, n):
        stream.unacknowledged += n
        if stream.receiving and stream.unacknowledged * 2 >= self.limits["window"]:
            self.out += frame(CREDIT, struct.pack(">BII", 0, stream.number, stream.unacknowledged))
            stream.allowed += stream.unacknowledged
            stream.unacknowledged = 0

    def reset(self, number, code):
        if (stream := self.streams.get(number)) and not stream.discarding and (stream.sending or stream.receiving):
            self.send_reset(number, code)
            stream.discarding = True
            stream.received.clear()
            self.end_sending(stream)

    def send_reset(self, number, code):
        self.out += frame(RESET, struct.pack(">BI", code, number))

    def end_sending(self, stream):
        stream.sending = False
        stream.queued.clear()
        self.forget(stream)

    def end_receiving(self, stream):
        stream.receiving = False
        self.forget(stream)

    def forget(self, stream):
        if not stream.sending and not stream.receiving:
            self.streams.pop(stream.number, None)

    # -- what comes out

    def transmit(self):
        """What is to be written now: all small frames, then one DATA frame of each stream that has credit."""
        out, self.out = self.out, bytearray()
        for number in list(self.turns):
            stream = self.streams.get(number)
            if not stream or not stream.sending:
                self.turns.remove(number)
                continue
            n = min(len(stream.queued), stream.credit, self.peer["max_data"], DATA_CHUNK)
            end = stream.finishing and n == len(stream.queued)
            if not n and not end:
                if not stream.queued:
                    self.turns.remove(number)
                continue
            out += frame(DATA, struct.pack(">BI", end, number), bytes(stream.queued[:n]))
            del stream.queued[:n]
            stream.credit -= n
            if end:
                self.end_sending(stream)
        return bytes(out)


DEFINED_KEYS = {"type", "timestamp", "request_id", "payload", "action", "method", "path", "headers", "body"}
DEFINED_KEYS |= {"body_base64", "body_stream", "upgrade", "status", "protocol", "features", "key", "value", *DEFAULTS}


def is_after(number, last):
    """In serial-number arithmetic (RFC 1982)."""
    return 0 < (number - last) % 2**32 < 2**31


def stream_number(text):
    if text is None:
        return None
    if not isinstance(text, str) or not re.fullmatch("[1-9][0-9]{0,9}", text) or int(text) >= 2**32:
        raise ProtocolError("message_request_id")
    return int(text)


def read_numbers(payload):
    numbers = {}
    for name, default in DEFAULTS.items():
        value = payload.get(name, default)
        if not isinstance(value, int) or not LOWEST[name] <= value < 2**32:
            raise ProtocolError("handshake", f"{name} is {value!r}")
        if name in ("window", "max_streams") and value > MAX_NUMBER:
            raise ProtocolError("handshake", f"{name} is {value!r}")
        numbers[name] = value
    return numbers


# ---------------------------------------------------------------------------------------- driver


class Response:
    """An answer. The body is text, bytes or an async iterator of bytes."""

    def __init__(self, status=200, headers=None, body=b""):
        pairs = headers.items() if isinstance(headers, dict) else headers or ()
        self.status, self.headers = status, [[name.lower(), value] for name, value in pairs]
        self.body = body.encode() if isinstance(body, str) else body


class Request:
    def __init__(self, head, body):
        self.method, self.path = head["method"], head["path"]
        self.headers = [tuple(pair) for pair in head.get("headers", ())]
        self.body = body


class Body:
    """The body of a request: `async for chunk in body`. A client that goes away cancels the handler."""

    def __init__(self, plugin, number, inline):
        self.plugin, self.number, self.inline = plugin, number, inline

    async def __aiter__(self):
        if self.inline is not None:
            yield self.inline
            return
        while True:
            data, ended = self.plugin.connection.read(self.number)
            self.plugin.wake()
            if data:
                yield data
            if ended:
                return
            if not data:
                await self.plugin.until(self.number, "readable")


class KvError(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Kv:
    """The plugin's own values, kept by the host."""

    def __init__(self, plugin):
        self.plugin = plugin

    async def call(self, **fields):
        payload = await self.plugin.call("kv", fields)
        if payload.get("action") == "error":
            error = payload.get("error") or {}
            raise KvError(error.get("code", "unavailable"), error.get("message", ""))
        return payload

    async def get(self, key):
        return bytes_of(await self.call(action="get", key=key), "value")

    async def set(self, key, value):
        await self.call(action="set", key=key, **text_or_base64("value", value))

    async def delete(self, key):
        return (await self.call(action="delete", key=key))["deleted"]


class Plugin:
    def __init__(self, handler):
        self.handler, self.connection = handler, Connection()
        self.config, self.data_dir, self.instance_id = {}, "", ""
        self.kv = Kv(self)
        self.tasks, self.waiting, self.calls = {}, {}, {}
        self.something_to_write = asyncio.Event()

    def wake(self):
        self.something_to_write.set()

    async def until(self, number, what):
        """Waits until the stream is "readable" or "writable"."""
        await self.waiting.setdefault((number, what), asyncio.get_running_loop().create_future())

    def now(self, number, what):
        waiter = self.waiting.pop((number, what), None)
        if waiter and not waiter.done():
            waiter.set_result(None)

    async def call(self, kind, payload):
        number = self.connection.call(kind, payload)
        answer = self.calls[number] = asyncio.get_running_loop().create_future()
        self.wake()
        return await answer

    async def serve(self, link):
        reader, self.writer = await asyncio.open_connection(sock=link)
        writing = asyncio.create_task(self.write())
        try:
            while data := await reader.read(256 * 1024):
                self.connection.feed(data)
                for event in self.take_events():
                    getattr(self, "on_" + event[0])(*event[1:])
                self.wake()
        except ProtocolError as error:
            print(f"the host broke the protocol: {error}", file=sys.stderr)
        ended_by_host = self.connection.phase == "draining"
        writing.cancel()
        if not ended_by_host:
            # The life line is cut. Whatever this plugin started goes with it.
            if os.getpgrp() == os.getpid():
                os.killpg(0, signal.SIGKILL)
            sys.exit(1)

    def take_events(self):
        events, self.connection.events = self.connection.events, []
        return events

    async def write(self):
        while True:
            await self.something_to_write.wait()
            self.something_to_write.clear()
            while data := self.connection.transmit():
                self.writer.write(data)
                await self.writer.drain()
                for number, what in list(self.waiting):
                    if what == "writable" and not self.connection.queued(number):
                        self.now(number, what)
            if self.connection.phase == "draining" and not self.connection.streams:
                self.writer.close()

    # -- events

    def on_init(self, payload):
        self.config, self.data_dir = payload.get("config") or {}, payload.get("data_dir", "")
        self.instance_id = payload.get("instance_id", "")
        self.connection.ready()

    def on_request(self, number, head, inline, streamed):
        body = Body(self, number, None if streamed else inline or b"")
        task = asyncio.create_task(self.respond(number, Request(head, body)))
        self.tasks[number] = task
        task.add_done_callback(lambda _: self.tasks.pop(number, None))

    def on_readable(self, number):
        self.now(number, "readable")

    def on_reset(self, number, code):
        if task := self.tasks.get(number):
            task.cancel()
        if answer := self.calls.pop(number, None):
            answer.set_exception(KvError("unavailable", f"the host ended the call with code {code}"))

    def on_answer(self, number, payload):
        answer = self.calls.pop(number)
        if not answer.done():
            answer.set_result(payload)

    def on_shutdown(self, grace_ms):
        pass  # `serve` ends when the last stream has.

    async def respond(self, number, request):
        try:
            response = await self.handler(request, self)
        except Exception:
            traceback.print_exc()
            response = Response(500, {"content-type": "text/plain"}, "the plugin failed\n")
        if isinstance(response.body, bytes):
            self.connection.respond(number, response.status, response.headers, response.body)
            return self.wake()
        self.connection.respond(number, response.status, response.headers, streamed=True)
        try:
            async for chunk in response.body:
                self.connection.write(number, chunk)
                self.wake()
                while self.connection.queued(number):
                    await self.until(number, "writable")
            self.connection.finish(number)
        except Exception:
            traceback.print_exc()
            self.connection.reset(number, INTERNAL)
        self.wake()


def run(handler):
    """Serves `async def handler(request, plugin) -> Response` until the host ends the plugin."""
    if "TORU_PLUGIN_FD" not in os.environ:
        sys.exit("this is a Toru plugin: start it by `toru dev .` in its folder")
    link = socket.socket(fileno=int(os.environ["TORU_PLUGIN_FD"]))
    link.setblocking(False)
    asyncio.run(Plugin(handler).serve(link))
