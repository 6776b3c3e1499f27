"""A stream: a request or a call, and its answer. Two directions, each with a state and credit of its own."""

from collections import deque

SMALL = 4 << 10  # pieces of a body below this are joined while they wait for their reader

# How far a direction is.
HEAD_DUE, OPEN, ENDED = "head", "open", "ended"

MAX_NUMBER = 2**32 - 1
FIRST_OWN = 2


class StreamEnded(Exception):
    """The stream was reset, or has ended: there is nobody to read from or to write to."""


class Stream:
    def __init__(self, number, sending, receiving, credit, window):
        self.number, self.sending, self.receiving = number, sending, receiving
        # To send: what the peer may get, and what waits for that.
        self.credit, self.unsent, self.finishing, self.in_turn = credit, deque(), False, False
        # To receive: what may still come, what waits for its reader, what was read and not yet acknowledged.
        self.window, self.allowed, self.unread, self.consumed = window, window, [], 0
        self.reading = True  # the handler wants the body
        self.cut = False  # what came of the body is not all
        self.reset_sent = False  # this side gave up, and waits for the peer's end
        self.muted = False  # the handler is not told of the stream any more
        self.offers_upgrade, self.is_tunnel, self.is_kv, self.in_work = False, False, False, 0

    def is_over(self):
        return self.sending == self.receiving == ENDED

    # -- sending

    def can_write(self):
        return self.sending == OPEN and (self.finishing if not self.unsent else self.credit > 0)

    def add(self, data):
        if data:
            self.unsent.append(memoryview(data))

    def take(self, limit):
        """The bytes of the next DATA frame, and whether they are the last."""
        data = self.unsent.popleft() if self.unsent else b""
        size = min(len(data), self.credit, limit)
        if size < len(data):
            self.unsent.appendleft(data[size:])
        self.credit -= size
        return data[:size], self.finishing and not self.unsent

    # -- receiving

    def keep(self, data):
        """Small pieces are joined, so that the window bounds memory however a body was cut."""
        if self.unread and len(self.unread[-1]) + len(data) <= SMALL:
            self.unread[-1] += data
        elif data:
            self.unread.append(data)

    def read(self):
        data = b"".join(self.unread)
        self.unread.clear()
        return data

    def credit_due(self, size):
        """The credit to return once so much more was read: none before it is half of the window."""
        self.consumed += size
        if self.receiving != OPEN or self.reset_sent or self.consumed * 2 < self.window:
            return 0
        due, self.consumed = self.consumed, 0
        self.allowed += due
        return due


class Numbers:
    """The last numbers that were opened, odd ones by the peer, even ones by this side, and how many are still open."""

    def __init__(self):
        self.last = {"own": None, "peer": None}
        self.open = {"own": 0, "peer": 0}

    def next(self, taken):
        """The number of the next stream that this side opens."""
        last = self.last["own"]
        number = FIRST_OWN if last is None else last + 2 & MAX_NUMBER
        while number in taken or number == 0:
            number = number + 2 & MAX_NUMBER
        return number

    def opened(self, number):
        self.last[opener(number)] = number
        self.open[opener(number)] += 1

    def closed(self, number):
        self.open[opener(number)] -= 1

    def is_forgotten(self, number):
        """Of a number that is not open: whether its opener has come to it already."""
        last = self.last[opener(number)]
        return last is not None and not is_after(number, last)


def opener(number):
    return "peer" if number % 2 else "own"


def is_after(number, last):
    """In serial-number arithmetic (RFC 1982)."""
    return 0 < (number - last) % 2**32 < 2**31
