"""What a handler works with: requests, responses, bodies, and the plugin itself."""

import asyncio

from .heads import SWITCHING_PROTOCOLS, response_head
from .messages import bytes_field


class Request:
    """A request. `headers` are pairs, in order; `body` is a `Body`."""

    def __init__(self, head, body):
        self.method, self.path, self.headers = head["method"], head["path"], head["headers"]
        self.body = body


class Response:
    """An answer. `headers` are a dictionary or pairs; the body is text, bytes or an async iterator of bytes."""

    def __init__(self, status=200, headers=(), body=b""):
        pairs = headers.items() if isinstance(headers, dict) else headers
        self.status, self.headers = status, [[name.lower(), value] for name, value in pairs]
        self.body = as_bytes(body)
        if bad := response_head(self.status, self.headers, None).get("bad"):
            raise ValueError(f"{bad}: {self.status} {self.headers}")
        if status == SWITCHING_PROTOCOLS and isinstance(self.body, bytes):
            raise ValueError("the body of a 101 is an async iterator: what this side sends")


def as_bytes(value):
    """Text as UTF-8, anything like bytes as bytes; the rest as it is."""
    if isinstance(value, str):
        return value.encode()
    return bytes(value) if isinstance(value, (bytearray, memoryview)) else value


class Body:
    """The body of a request: `async for chunk in body`, or all of it by `await body.read(limit)`.

    No more of it is in memory than a window: what is not read is not sent. When the client goes away, the
    handler is cancelled.
    """

    def __init__(self, driver, stream, whole):
        self.driver, self.stream, self.whole = driver, stream, whole

    async def __aiter__(self):
        if self.whole:
            yield self.whole
        ended = self.whole is not None
        while not ended:
            data, ended = self.driver.connection.read(self.stream)
            self.driver.wake()
            if data:
                yield data
            elif not ended:
                await self.driver.until(self.stream, "readable")

    async def read(self, limit):
        """The whole body. Raises ValueError when it has more than `limit` bytes."""
        pieces, size = [], 0
        async for piece in self:
            size += len(piece)
            if size > limit:
                raise ValueError(f"the body has more than {limit} bytes")
            pieces.append(piece)
        return b"".join(pieces)


class Kv:
    """The plugin's own values, kept by the host. Each call may raise KvError."""

    def __init__(self, driver):
        self.driver = driver

    async def get(self, key):
        """The bytes, or None."""
        return (await self.driver.call({"action": "get", "key": key}, "value"))["value"]

    async def set(self, key, value, ttl_ms=None):
        """Once it returns, the bytes are on the host's disk."""
        expiry = {} if ttl_ms is None else {"ttl_ms": ttl_ms}
        await self.driver.call({"action": "set", "key": key, **bytes_field("value", as_bytes(value)), **expiry}, "ok")

    async def delete(self, key):
        """Whether there was such a key."""
        return (await self.driver.call({"action": "delete", "key": key}, "deleted"))["deleted"]


class Refused(Exception):
    """Raised while the plugin starts: it does not want to run. The operator reads `text`; no restart follows."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


class Plugin:
    """What a handler knows of its plugin: settings, values, and what it can tell the host."""

    def __init__(self, driver):
        self.driver, self.kv = driver, Kv(driver)
        self.id = self.instance_id = self.data_dir = ""
        self.config = {}
        self.ending = asyncio.Event()

    def adopt(self, init):
        self.id, self.instance_id = init["plugin_id"], init["instance_id"]
        self.config, self.data_dir = init["config"], init["data_dir"]

    def log(self, level, message, **fields):
        """A record in the plugin's log. (What is printed goes there too.)"""
        self.driver.notice("log", {"level": level, "message": message, "fields": fields})

    def event(self, name, **details):
        """An event; the host stores it as `plugin.<name>`."""
        self.driver.notice("event", {"name": name, "details": details})

    async def shutting_down(self):
        """Returns once the host has asked this plugin to finish, or is gone.

        Requests in flight are awaited. An answer or an upgrade that would never end waits for this as well, and ends.
        """
        await self.ending.wait()

    def drain(self, reason):
        """This process is to be replaced: no new requests, please. To end after it is no crash."""
        self.driver.connection.drain(reason)
        self.driver.wake()

    def degraded(self, detail):
        """What pings are answered with from now on; None: all is well."""
        self.driver.connection.pong = {"status": "degraded", "detail": detail} if detail else {"status": "ok"}
