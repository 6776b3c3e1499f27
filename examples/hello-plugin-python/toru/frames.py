"""Frames: a length, then so many bytes whose first says what they are. Bytes in, frames out, no I/O."""

import struct
from collections import namedtuple

DATA, CREDIT, RESET, HEAD, MESSAGE = 1, 2, 3, 4, 0x7B

Message = namedtuple("Message", "text")
Data = namedtuple("Data", "stream end data")
Credit = namedtuple("Credit", "stream n")
Reset = namedtuple("Reset", "stream code")
Head = namedtuple("Head", "stream flags data")

# The codes of RESET.
DONE, CANCELLED, TIMED_OUT, INTERNAL, REFUSED, TOO_LARGE = range(6)

# What a side accepts where it does not say, and what it may say.
DEFAULTS = {"window": 65_536, "max_streams": 1_024, "max_message": 1_048_576, "max_data": 262_144}
LOWEST = {"window": 1, "max_streams": 1, "max_message": 65_536, "max_data": 1_024}
MAX_WINDOW = 2**31 - 1  # also of max_streams, and of a sum of credit
V1_MAX_MESSAGE = 16 << 20

LENGTH = 4  # bytes of the length itself
PREFIX = 6  # bytes of kind, flags and stream number
EXACT = {CREDIT: 10, RESET: 6}

END = 1
NO_BODY, ANSWER, WHOLE_BODY, UPGRADE = 1, 2, 4, 8
DEFINED_FLAGS = {DATA: END, CREDIT: 0, RESET: 0xFF, HEAD: NO_BODY | ANSWER | WHOLE_BODY | UPGRADE}


class ProtocolError(Exception):
    """The peer broke the protocol, so the connection ends. `cause` is the name that the vectors use."""

    def __init__(self, cause, text=""):
        super().__init__(f"{cause}: {text}" if text else cause)
        self.cause = cause


class Decoder:
    """Cuts frames off the front of what is fed to it, and checks each byte as soon as it is there."""

    def __init__(self, max_message=DEFAULTS["max_message"], max_data=DEFAULTS["max_data"], version=2):
        self.max_message, self.max_data, self.binary = max_message, max_data, version == 2
        self.buffer = bytearray()

    def feed(self, data):
        self.buffer += data

    def finish(self):
        """The connection has ended."""
        if self.buffer:
            raise ProtocolError("eof_inside_frame")

    def next(self):
        """The first frame, or None while it is not whole."""
        buffer, have = self.buffer, len(self.buffer)
        if have < LENGTH:
            return None
        length = int.from_bytes(buffer[:LENGTH], "big")
        self.check_length(length)
        if have < LENGTH + 1:
            return None
        kind, flags, stream = buffer[LENGTH], 0, 0
        self.check_kind(kind, length)
        if kind in DEFINED_FLAGS:
            if have < LENGTH + 2:
                return None
            flags = buffer[LENGTH + 1]
            check_flags(kind, flags, length)
            if have < LENGTH + PREFIX:
                return None
            stream = int.from_bytes(buffer[LENGTH + 2 : LENGTH + PREFIX], "big")
            if stream == 0:
                raise ProtocolError("stream_zero")
        if have < LENGTH + length:
            return None
        start = LENGTH + PREFIX if kind in DEFINED_FLAGS else LENGTH
        content = bytes(memoryview(buffer)[start : LENGTH + length])
        if kind == CREDIT and not any(content):
            raise ProtocolError("credit_zero")
        del buffer[: LENGTH + length]
        return make_frame(kind, flags, stream, content)

    def check_length(self, length):
        if length == 0:
            raise ProtocolError("length_zero")
        longest = max(self.max_message, self.max_data + PREFIX) if self.binary else self.max_message
        if length > longest:
            raise ProtocolError("too_long", f"{length} bytes where {longest} are accepted")

    def check_kind(self, kind, length):
        if not self.binary:
            # Only version 2 demands that a message begins with exactly `{`.
            if kind not in b"{ \t\r\n":
                raise ProtocolError("unknown_kind", f"{kind:#04x}")
        elif kind in DEFINED_FLAGS:
            if length < PREFIX or length != EXACT.get(kind, length):
                raise ProtocolError("wrong_length")
        elif kind != MESSAGE:
            raise ProtocolError("unknown_kind", f"{kind:#04x}")
        if length > (self.max_data + PREFIX if kind == DATA else self.max_message):
            raise ProtocolError("too_long")


def check_flags(kind, flags, length):
    if flags & ~DEFINED_FLAGS[kind]:
        raise ProtocolError("undefined_flags")
    if kind == HEAD and flags & (NO_BODY | WHOLE_BODY | UPGRADE) not in (0, NO_BODY, WHOLE_BODY, UPGRADE):
        raise ProtocolError("conflicting_flags")
    if kind == DATA and length == PREFIX and not flags & END:
        raise ProtocolError("empty_data")


def make_frame(kind, flags, stream, content):
    if kind == DATA:
        return Data(stream, bool(flags & END), content)
    if kind == CREDIT:
        return Credit(stream, int.from_bytes(content, "big"))
    if kind == RESET:
        return Reset(stream, flags)
    if kind == HEAD:
        return Head(stream, flags, content)
    return Message(content)


def data_prefix(stream, end, size):
    """What stands before the bytes of a DATA frame, so that these need not be copied."""
    return struct.pack(">IBBI", PREFIX + size, DATA, end, stream)


def encode(frame):
    """The bytes of a frame."""
    if isinstance(frame, Data):
        return data_prefix(frame.stream, frame.end, len(frame.data)) + frame.data
    if isinstance(frame, Credit):
        return struct.pack(">IBBII", EXACT[CREDIT], CREDIT, 0, frame.stream, frame.n)
    if isinstance(frame, Reset):
        return struct.pack(">IBBI", EXACT[RESET], RESET, frame.code, frame.stream)
    if isinstance(frame, Head):
        return struct.pack(">IBBI", PREFIX + len(frame.data), HEAD, frame.flags, frame.stream) + frame.data
    return struct.pack(">I", len(frame.text)) + frame.text
