"""The plugin's end of a link, without I/O: `feed` what arrives, take `events`, send what `transmit` gives.

docs/plugins/PROTOCOL.md says why each rule is there.
"""

from collections import deque

from . import messages
from .frames import ANSWER, DEFAULTS, DONE, INTERNAL, LENGTH, MAX_WINDOW, REFUSED
from .frames import Credit, Decoder, Message, ProtocolError, Reset, data_prefix, encode
from .heads import MAX_INLINE, SWITCHING_PROTOCOLS, decode_head, response_head
from .messages import bytes_field
from .stream import ENDED, HEAD_DUE, OPEN, Numbers, Stream, StreamEnded

PROTOCOL = 2
SHARED_TURN = 64 << 10  # of one DATA frame while other streams wait for their turn
TRANSMIT_BUDGET = 256 << 10  # of one `transmit`, so that credit and resets come between
MAX_QUEUED = 1 << 20  # of messages that wait for the socket; more wait at their source
MAX_CALLS_IN_WORK = 4 << 20  # bytes of values in the host's calls that were not answered yet
TOLD_UNKNOWN = 64  # kinds of unknown messages that are told of, each once


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
        self.numbers = Numbers()
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
            stream.keep(data)
            self.events.append(("readable", stream))
        else:
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
        if stream.is_tunnel and stream.receiving == ENDED:
            # What the host sent is whole; it wants no more of this side.
            stream.unsent.clear()
        else:
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
        return self.phase in ("deciding", "open") and self.numbers.open["own"] < self.peer["max_streams"]

    def call(self, payload):
        """Opens a stream by a KV call; its answer, or the end of the stream, comes as an event."""
        number = self.numbers.next(self.streams)
        frame = messages.encode("kv", payload, number)
        if not self.fits(frame):
            raise messages.KvError("too_large", "the call is larger than the host accepts")
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
        if body is None:
            return self.answer(stream, self.head_frame(stream, head))
        stream.is_tunnel = body == "tunnel"
        if body in ("stream", "tunnel"):
            return self.begin(stream, {**head, "body_stream": True} if body == "stream" else head)
        frame = self.inline_frame(stream, head, body)
        if frame:
            return self.answer(stream, frame)
        if "streams" not in self.in_force:
            raise ValueError("the body is larger than the host accepts")
        self.begin(stream, {**head, "body_stream": True})
        self.send(stream, body)
        self.finish(stream)

    def begin(self, stream, head):
        self.push(self.head_frame(stream, head))
        stream.sending = OPEN

    def head_frame(self, stream, head):
        frame = messages.encode("http", head, stream.number)
        if not self.fits(frame):
            raise ValueError("the head is larger than the host accepts")
        return frame

    def inline_frame(self, stream, head, body):
        """The answer with its whole body inside, or None where that is too large."""
        if len(body) > MAX_INLINE or ("streams" in self.in_force and len(body) > self.peer["window"]):
            return None
        frame = messages.encode("http", {**head, **bytes_field("body", body)}, stream.number)
        return frame if self.fits(frame) else None

    def send(self, stream, data):
        """The next bytes of a body. Give more once the event "writable" says that they are sent."""
        if stream.sending != OPEN or stream.finishing:
            raise StreamEnded
        stream.add(data)
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
        if not self.fits(frame):
            return self.answer_error(stream, "too_large", "the value is larger than the host accepts")
        self.answer(stream, frame)

    def read(self, stream):
        """What has come of a body, and whether that was all. What is taken is acknowledged."""
        if stream.cut or stream.muted:
            raise StreamEnded
        data = stream.read()
        self.consume(stream, len(data))
        return data, stream.receiving == ENDED

    def discard(self, stream):
        """The rest of a request's body is not wanted; the answer goes on."""
        if stream.reading:
            stream.reading = False
            self.consume(stream, len(stream.read()))

    def reset(self, stream, code):
        """Gives the stream up. It keeps its place until the host's end comes."""
        if stream.is_over() or stream.reset_sent:
            return
        stream.muted, stream.reading = True, False
        stream.unread.clear()
        stream.unsent.clear()
        # Before `ready` a plugin sends no RESET: the call is left to its answer.
        if self.phase != "deciding":
            stream.reset_sent, stream.sending = True, ENDED
            self.force(encode(Reset(stream.number, code)))
        self.forget_if_over(stream)

    def notice(self, kind, payload):
        """A log record or an event. Dropped where it is too large or too much waits: it never blocks."""
        frame = messages.encode(kind, payload)
        if self.phase in ("deciding", "open") and self.has_room() and self.fits(frame):
            self.push(frame)

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
            limit = SHARED_TURN if self.turns else TRANSMIT_BUDGET
            data, end = stream.take(min(limit, self.peer["max_data"]))
            out += data_prefix(stream.number, end, len(data)), data
            size += len(data)
            if end:
                stream.sending = ENDED
                self.forget_if_over(stream)
            elif not stream.unsent:
                self.events.append(("writable", stream))
            self.schedule(stream)
        return b"".join(out)

    # ------------------------------------------------------------------------------------ streams

    def open(self, number, sending, receiving):
        stream = Stream(number, sending, receiving, self.peer["window"], self.limits["window"])
        self.streams[number] = stream
        self.numbers.opened(number)
        return stream

    def admit(self, number):
        """Checks that the host may open this number."""
        if number % 2 == 0:
            raise ProtocolError("stream_parity")
        if number in self.streams:
            raise ProtocolError("stream_in_use")
        if self.numbers.is_forgotten(number):
            raise ProtocolError("stream_forgotten")
        if self.numbers.open["peer"] >= self.limits["max_streams"]:
            raise ProtocolError("too_many_streams")

    def refuse_absent(self, number):
        raise ProtocolError("stream_forgotten" if self.numbers.is_forgotten(number) else "stream_not_opened")

    def ignore_forgotten(self, number):
        if not self.numbers.is_forgotten(number):
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
            self.numbers.closed(stream.number)
            self.in_work -= stream.in_work
            self.accept_own_limits()
            self.events.append(("forgotten", stream))

    def accept_own_limits(self):
        """From `ready` on, but for answers to calls that were made under the defaults."""
        if self.phase == "open" and not self.numbers.open["own"]:
            self.decoder.max_message = self.limits["max_message"]

    def schedule(self, stream):
        if not stream.in_turn and stream.can_write():
            stream.in_turn = True
            self.turns.append(stream)

    def consume(self, stream, size):
        if due := stream.credit_due(size):
            self.force(encode(Credit(stream.number, due)))

    def fits(self, frame):
        return len(frame) - LENGTH <= self.peer["max_message"]

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
