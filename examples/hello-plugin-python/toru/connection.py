"""The plugin's end of a link, without I/O: `feed` what arrives, take `events`, send what `transmit` gives.

docs/plugins/PROTOCOL.md says why each rule is there.
"""

from collections import deque

from . import messages
from .frames import ANSWER, DEFAULTS, DONE, INTERNAL, MAX_WINDOW, REFUSED
from .frames import Credit, Decoder, Message, ProtocolError, Reset, data_prefix, encode
from .heads import MAX_INLINE, SWITCHING_PROTOCOLS, decode_head, is_status, response_head
from .messages import bytes_field

PROTOCOL = 2
MAX_STREAM_NUMBER = 2**32 - 1
SHARED_TURN = 64 << 10  # of one DATA frame while other streams wait for their turn
TRANSMIT_BUDGET = 256 << 10  # of one `transmit`, so that credit and resets come between
MAX_QUEUED = 1 << 20  # of messages that wait for the socket; more wait at their source
MAX_CALLS_IN_WORK = 4 << 20  # bytes of values in the host's calls that were not answered yet
SMALL = 4 << 10  # pieces of a body below this are joined while they wait for their reader
TOLD_UNKNOWN = 64  # kinds of unknown messages that are told of, each once

# How far a direction of a stream is.
HEAD_DUE, OPEN, ENDED = "head", "open", "ended"


class StreamEnded(Exception):
    """The stream was reset, or has ended: there is nobody to read from or to write to."""


class Stream:
    """A request or a call, and its answer: two directions, each with a state and credit of its own."""

    def __init__(self, number, sending, receiving, credit, window):
        self.number, self.sending, self.receiving = number, sending, receiving
        # To send: what the peer may get, and what waits for that.
        self.credit, self.unsent, self.finishing, self.in_turn = credit, deque(), False, False
        # To receive: what may still come, what waits for its reader, what was read and not yet acknowledged.
        self.allowed, self.unread, self.consumed = window, [], 0
        # reading: the handler wants the body. cut: what came of it is not all. reset_sent: this side gave up and
        # waits for the peer's end. muted: the handler is not told of the stream any more.
        self.reading, self.cut, self.reset_sent, self.muted = True, False, False, False
        self.offers_upgrade, self.is_kv, self.in_work = False, False, 0

    def is_over(self):
        return self.sending == self.receiving == ENDED

    def can_write(self):
        return self.sending == OPEN and (self.finishing if not self.unsent else self.credit > 0)


class Connection:
    def __init__(self, limits=None, features=("streams",)):
        self.limits, self.features = {**DEFAULTS, **(limits or {})}, sorted(features)
        self.peer, self.in_force = dict(DEFAULTS), set()
        # Until `ready` the host does not know this side's limits.
        self.decoder = Decoder(DEFAULTS["max_message"], self.limits["max_data"])
        self.phase = "init"  # -> "deciding" -> "open" or "refused" -> "closed"
        self.draining = False  # the host has said shutdown
        self.pong = {"status": "ok"}
        self.events = []
        self.streams = {}  # those with a direction that has not ended, by number
        self.last = {"own": None, "peer": None}  # the last number that either side opened
        self.opened = {"own": 0, "peer": 0}  # how many of those streams there are
        self.queue, self.queued, self.forced = [], 0, 0  # frames but DATA; their bytes; those the host forced
        self.turns = deque()  # streams with DATA that may go
        self.in_work = 0
        self.unknown = set()

    # ------------------------------------------------------------------------------ what arrives

    def feed(self, data):
        """Bytes of the host. Raises ProtocolError, after which the connection is closed."""
        self.decoder.feed(data)
        try:
            while self.phase != "closed" and (frame := self.decoder.next()):
                self.handle(frame)
        except ProtocolError:
            self.phase = "closed"
            raise

    def feed_eof(self):
        """The host has closed the connection."""
        self.phase = "closed"
        self.decoder.finish()

    def take_events(self):
        events, self.events = self.events, []
        return events

    def handle(self, frame):
        if self.phase == "refused":
            return
        if isinstance(frame, Message):
            self.handle_message(messages.parse(frame.text))
        elif self.phase == "init":
            raise ProtocolError("not_init")
        elif self.phase == "deciding" and not isinstance(frame, Reset):
            raise ProtocolError("before_ready")
        else:
            getattr(self, "on_" + type(frame).__name__.lower())(*frame)
        if self.forced > 4 * (self.limits["max_streams"] + self.peer["max_streams"]) + 64:
            raise ProtocolError("peer_does_not_read")

    def handle_message(self, message):
        name, number, fields = message
        if self.phase == "init" and name != "init":
            raise ProtocolError("not_init", name)
        if self.phase == "deciding" and name not in ("kv_answer", "shutdown"):
            raise ProtocolError("before_ready", name)
        if name == "init" and self.phase == "init":
            self.on_init(fields)
        elif name == "ping":
            self.force(messages.encode("lifecycle", {"action": "pong", **self.pong}))
        elif name == "shutdown":
            self.draining = True
            self.events.append(("shutdown", fields["grace_ms"]))
        elif name in ("request", "response", "kv_call", "kv_answer", "unknown"):
            getattr(self, "on_" + name)(number, fields)
        else:
            self.tell_unknown(name)

    def on_init(self, init):
        if init["protocol"] != PROTOCOL:
            raise ProtocolError("version", f"the host speaks {init['protocol']}")
        self.peer = {name: init[name] for name in DEFAULTS}
        self.in_force = set(init["features"]) & set(self.features)
        self.phase = "deciding"
        self.events.append(("init", init))

    def on_data(self, number, end, data):
        stream = self.streams.get(number) or self.refuse_absent(number)
        if stream.receiving == HEAD_DUE:
            raise ProtocolError("data_before_head")
        if stream.receiving == ENDED:
            raise ProtocolError("data_after_end")
        if len(data) > stream.allowed:
            raise ProtocolError("credit_passed")
        stream.allowed -= len(data)
        if end:
            stream.receiving = ENDED
        if stream.reading:
            if data:
                keep(stream.unread, data)
            self.events.append(("readable", stream))
        elif not stream.reset_sent:
            self.consume(stream, len(data))
        self.forget_if_over(stream)

    def on_credit(self, number, n):
        stream = self.streams.get(number)
        if stream is None:
            return self.ignore_forgotten(number)
        if stream.sending == ENDED or stream.is_kv:
            return
        stream.credit += n
        if stream.credit > MAX_WINDOW:
            raise ProtocolError("credit_overflow")
        self.schedule(stream)

    def on_reset(self, number, code):
        stream = self.streams.get(number)
        if stream is None:
            return self.ignore_forgotten(number)
        if stream.sending != ENDED:
            self.force(encode(Reset(number, DONE)))
        self.cut(stream, code)
        stream.sending = stream.receiving = ENDED
        self.forget_if_over(stream)

    def on_head(self, number, flags, data):
        if "heads" not in self.in_force:
            raise ProtocolError("feature_not_in_force", "heads")
        is_own = number % 2 == 0
        if bool(flags & ANSWER) != is_own:
            raise ProtocolError("head_direction")
        (self.on_response if is_own else self.on_request)(number, decode_head(flags, data))

    def on_request(self, number, head):
        self.admit(number)
        body = head["body"]
        self.check_form(body)
        stream = self.open(number, HEAD_DUE, OPEN if body in ("stream", "tunnel") else ENDED)
        stream.offers_upgrade = body == "tunnel"
        if self.draining or "bad" in head:
            self.reset(stream, REFUSED if self.draining else INTERNAL)
        else:
            self.events.append(("request", stream, head))

    def on_kv_call(self, number, call):
        self.admit(number)
        stream = self.open(number, HEAD_DUE, ENDED)
        size = len(call.get("value", b""))
        if self.draining:
            self.reset(stream, REFUSED)
        elif "error" in call:
            self.answer_error(stream, call["error"], call["text"])
        elif self.in_work + size > MAX_CALLS_IN_WORK:
            self.answer_error(stream, "unavailable", "the calls in work hold all they may: call again")
        else:
            stream.is_kv, stream.in_work = True, size
            self.in_work += size
            self.events.append(("kv_call", stream, call))

    def on_response(self, number, head):
        # This side asks for nothing over HTTP, so this answers no question.
        self.check_form(head["body"])
        stream = self.awaiting_answer(number)
        self.fail(stream)
        stream.receiving = OPEN if head["body"] in ("stream", "tunnel") else ENDED
        self.forget_if_over(stream)

    def on_kv_answer(self, number, answer):
        stream = self.awaiting_answer(number)
        stream.receiving = ENDED
        if not stream.muted:
            self.events.append(("answer", stream, answer))
        self.forget_if_over(stream)

    def on_unknown(self, number, _):
        self.tell_unknown("a message of an unknown type or action")
        if number is None:
            return
        if number % 2 == 0:
            stream = self.awaiting_answer(number)
            self.fail(stream)
            stream.receiving = ENDED
            return self.forget_if_over(stream)
        self.admit(number)
        stream = self.open(number, HEAD_DUE, ENDED)
        if self.draining:
            self.reset(stream, REFUSED)
        else:
            self.answer_error(stream, "unknown_action", "this is not known here")

    # -------------------------------------------------------------------- what the handler wants

    def ready(self):
        if self.phase != "deciding":
            return
        self.phase = "open"
        offer = {"action": "ready", "protocol": PROTOCOL, "features": self.features, **self.limits}
        self.push(messages.encode("lifecycle", offer))
        self.accept_own_limits()

    def refuse(self, code, text):
        """Answers `init` by `failed`: this plugin does not want to run."""
        if self.phase == "deciding":
            self.phase = "refused"
            self.push(messages.encode("lifecycle", {"action": "failed", "code": code, "message": text}))

    def can_call(self):
        """Whether the host has a place for one more call."""
        return self.phase in ("deciding", "open") and self.opened["own"] < self.peer["max_streams"]

    def call(self, payload):
        """Opens a stream by a KV call; its answer, or the end of the stream, comes as an event."""
        number = 2 if self.last["own"] is None else self.last["own"] + 2 & MAX_STREAM_NUMBER
        while number in self.streams or number == 0:
            number = number + 2 & MAX_STREAM_NUMBER
        frame = messages.encode("kv", payload, number)
        if len(frame) - 4 > self.peer["max_message"]:
            raise messages.KvError("too_large", "the call is larger than the host accepts")
        self.last["own"] = number
        self.push(frame)
        stream = self.open(number, ENDED, HEAD_DUE)
        stream.is_kv = True
        return stream

    def respond(self, stream, status, headers, body=None):
        """The head of an answer; `body` as in a head: None, all its bytes, "stream" or "tunnel"."""
        if stream.sending != HEAD_DUE:
            raise StreamEnded
        if (body == "tunnel") != (status == SWITCHING_PROTOCOLS) or (body == "tunnel" and not stream.offers_upgrade):
            raise ValueError("101 takes an upgrade that was offered, and nothing else does")
        if "bad" in response_head(status, headers, body):
            raise ValueError(f"{status} {headers} is no head of an answer")
        head = {"action": "response", "status": status, "headers": headers}
        whole = None
        if isinstance(body, bytes):
            streams = "streams" in self.in_force
            fits = len(body) <= (min(MAX_INLINE, self.peer["window"]) if streams else MAX_INLINE)
            inline = messages.encode("http", {**head, **bytes_field("body", body)}, stream.number) if fits else b""
            if fits and len(inline) - 4 <= self.peer["max_message"]:
                return self.answer(stream, inline)
            if not streams:
                raise ValueError("the body is larger than the host accepts")
            body, whole = "stream", body
        frame = messages.encode("http", {**head, "body_stream": True} if body == "stream" else head, stream.number)
        if len(frame) - 4 > self.peer["max_message"]:
            raise ValueError("the head is larger than the host accepts")
        if body is None:
            return self.answer(stream, frame)
        self.push(frame)
        stream.sending = OPEN
        if whole is not None:
            self.send(stream, whole)
            self.finish(stream)

    def send(self, stream, data):
        """The next bytes of a body. Give more once the event "writable" says that they are sent."""
        if stream.sending != OPEN or stream.finishing:
            raise StreamEnded
        if data:
            stream.unsent.append(memoryview(data))
        self.schedule(stream)

    def finish(self, stream):
        if stream.sending != OPEN or stream.finishing:
            raise StreamEnded
        stream.finishing = True
        self.schedule(stream)

    def answer_call(self, stream, answer):
        """Answers a KV call of the host: by {"value": bytes or None}, or a KvError."""
        if stream.sending != HEAD_DUE:
            return
        if isinstance(answer, messages.KvError):
            return self.answer_error(stream, answer.code, str(answer))
        value = answer["value"]
        frame = messages.encode("kv", {"value": None} if value is None else bytes_field("value", value), stream.number)
        if len(frame) - 4 > self.peer["max_message"]:
            return self.answer_error(stream, "too_large", "the value is larger than the host accepts")
        self.answer(stream, frame)

    def read(self, stream):
        """What has come of a body, and whether that was all. What is taken is acknowledged."""
        if stream.cut or stream.muted:
            raise StreamEnded
        data = b"".join(stream.unread)
        stream.unread.clear()
        self.consume(stream, len(data))
        return data, stream.receiving == ENDED

    def discard(self, stream):
        """The rest of a request's body is not wanted; the answer goes on."""
        if stream.reading:
            stream.reading = False
            self.consume(stream, sum(map(len, stream.unread)))
            stream.unread.clear()

    def reset(self, stream, code):
        """Gives the stream up. It keeps its place until the host's end comes."""
        if stream.is_over() or stream.reset_sent:
            return
        stream.muted, stream.reading = True, False
        stream.unread.clear()
        # Before `ready` a plugin sends no RESET: the call is left to its answer.
        if self.phase != "deciding":
            stream.reset_sent, stream.sending = True, ENDED
            self.push(encode(Reset(stream.number, code)))
        self.forget_if_over(stream)

    def notice(self, kind, payload):
        """A log record or an event. Dropped while too much waits for the socket: it never blocks."""
        if self.phase in ("deciding", "open") and self.has_room():
            self.push(messages.encode(kind, payload))

    def drain(self, reason):
        """No new streams please: a successor is to be started."""
        if self.phase == "open":
            self.push(messages.encode("lifecycle", {"action": "draining", "reason": reason}))

    # ----------------------------------------------------------------------------- what comes out

    def has_room(self):
        """Whether answers and calls may be given, or should wait at their source."""
        return self.queued < MAX_QUEUED

    def transmit(self):
        """What is to be written next: all frames but DATA, then a frame of each stream in turn."""
        out, size = self.queue, self.queued
        self.queue, self.queued, self.forced = [], 0, 0
        while self.turns and size < TRANSMIT_BUDGET:
            stream = self.turns.popleft()
            stream.in_turn = False
            if not stream.can_write():
                continue
            data = self.take_unsent(stream, SHARED_TURN if self.turns else TRANSMIT_BUDGET)
            end = stream.finishing and not stream.unsent
            out += data_prefix(stream.number, end, len(data)), data
            size += len(data)
            if end:
                stream.sending = ENDED
                self.forget_if_over(stream)
            elif not stream.unsent:
                self.events.append(("writable", stream))
            self.schedule(stream)
        return b"".join(out)

    def take_unsent(self, stream, limit):
        if not stream.unsent:
            return b""
        data = stream.unsent.popleft()
        size = min(len(data), stream.credit, self.peer["max_data"], limit)
        if size < len(data):
            stream.unsent.appendleft(data[size:])
        stream.credit -= size
        return data[:size]

    # ------------------------------------------------------------------------------------ streams

    def open(self, number, sending, receiving):
        stream = Stream(number, sending, receiving, self.peer["window"], self.limits["window"])
        self.streams[number] = stream
        self.opened[opener(number)] += 1
        return stream

    def admit(self, number):
        """Checks that the host may open this number."""
        if number % 2 == 0:
            raise ProtocolError("stream_parity")
        if number in self.streams:
            raise ProtocolError("stream_in_use")
        if self.is_forgotten(number):
            raise ProtocolError("stream_forgotten")
        if self.opened["peer"] >= self.limits["max_streams"]:
            raise ProtocolError("too_many_streams")
        self.last["peer"] = number

    def is_forgotten(self, number):
        """Of a number that is not open: whether its opener has come to it already."""
        last = self.last[opener(number)]
        return last is not None and not is_after(number, last)

    def refuse_absent(self, number):
        raise ProtocolError("stream_forgotten" if self.is_forgotten(number) else "stream_not_opened")

    def ignore_forgotten(self, number):
        if not self.is_forgotten(number):
            raise ProtocolError("stream_not_opened")

    def awaiting_answer(self, number):
        stream = self.streams.get(number) or self.refuse_absent(number)
        if number % 2 or stream.receiving != HEAD_DUE:
            raise ProtocolError("second_head")
        return stream

    def check_form(self, body):
        if body in ("stream", "tunnel") and "streams" not in self.in_force:
            raise ProtocolError("feature_not_in_force", "streams")

    def cut(self, stream, code):
        """The body that is read is not whole, and the handler is told, once."""
        stream.cut, stream.reading = True, False
        stream.unread.clear()
        stream.unsent.clear()
        if not stream.muted:
            stream.muted = True
            self.events.append(("reset", stream, code))

    def fail(self, stream):
        """The host sent what this stream has no use for."""
        self.cut(stream, INTERNAL)
        self.reset(stream, INTERNAL)

    def answer(self, stream, frame):
        """A message that is the whole answer."""
        self.push(frame)
        stream.sending = ENDED
        self.forget_if_over(stream)

    def answer_error(self, stream, code, text):
        error = {"action": "error", "error": {"code": code, "message": text}}
        self.forced += 1
        self.answer(stream, messages.encode("kv", error, stream.number))

    def forget_if_over(self, stream):
        if stream.is_over() and self.streams.get(stream.number) is stream:
            del self.streams[stream.number]
            self.opened[opener(stream.number)] -= 1
            self.in_work -= stream.in_work
            self.accept_own_limits()
            self.events.append(("forgotten", stream))

    def accept_own_limits(self):
        """From `ready` on, but for answers to calls that were made under the defaults."""
        if self.phase == "open" and not self.opened["own"]:
            self.decoder.max_message = self.limits["max_message"]

    def schedule(self, stream):
        if not stream.in_turn and stream.can_write():
            stream.in_turn = True
            self.turns.append(stream)

    def consume(self, stream, size):
        """Returns credit once half of the window was read."""
        stream.consumed += size
        if stream.receiving == OPEN and not stream.reset_sent and stream.consumed * 2 >= self.limits["window"]:
            self.force(encode(Credit(stream.number, stream.consumed)))
            stream.allowed += stream.consumed
            stream.consumed = 0

    def push(self, frame):
        self.queue.append(frame)
        self.queued += len(frame)

    def force(self, frame):
        """Queues a frame that the host makes this side send, whether or not it reads."""
        self.forced += 1
        self.push(frame)

    def tell_unknown(self, what):
        if what not in self.unknown and len(self.unknown) < TOLD_UNKNOWN:
            self.unknown.add(what)
            self.events.append(("unknown", what))


def opener(number):
    return "peer" if number % 2 else "own"


def is_after(number, last):
    """In serial-number arithmetic (RFC 1982)."""
    return 0 < (number - last) % 2**32 < 2**31


def keep(pieces, data):
    """Appends a piece; small ones are joined, so that a window bounds memory however it was cut."""
    if pieces and len(pieces[-1]) + len(data) <= SMALL:
        pieces[-1] += data
    else:
        pieces.append(data)
