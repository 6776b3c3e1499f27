"""A bare ASGI application: what it answers is what the example plugins answer."""

import asyncio
import json

HUNDRED_BYTES = json.dumps({"plugin": "nginx-uvicorn", "padding": "." * 58}).encode()
assert len(HUNDRED_BYTES) == 100
DOTS = b"." * (1 << 20)


async def app(scope, receive, send):
    if scope["type"] == "http":
        await ROUTES.get(scope["path"], missing)(scope, receive, send)


async def pieces(receive):
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        if body := message.get("body"):
            yield body


async def answer(send, body, content_type=b"text/plain; charset=utf-8", status=200):
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def stream(send, content_type, chunks, *headers):
    headers = [(b"content-type", content_type), *headers]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    async for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body"})


def query(scope, name, default=None):
    pairs = dict(pair.partition("=")[::2] for pair in scope["query_string"].decode().split("&"))
    return int(pairs.get(name, default))


async def hundred(scope, receive, send):
    await answer(send, HUNDRED_BYTES, b"application/json")


async def echo(scope, receive, send):
    await stream(send, b"application/octet-stream", pieces(receive))


async def count(scope, receive, send):
    total = 0
    async for piece in pieces(receive):
        total += len(piece)
    await answer(send, str(total).encode())


async def download(scope, receive, send):
    await answer(send, DOTS[: query(scope, "bytes")], b"application/octet-stream")


async def events(scope, receive, send):
    async def each(number, pause):
        for n in range(number):
            if pause:
                await asyncio.sleep(pause)
            yield f"data: {n}\n\n".encode()

    chunks = each(query(scope, "n"), query(scope, "ms", 0) / 1000)
    await stream(send, b"text/event-stream", chunks, (b"x-accel-buffering", b"no"))


async def missing(scope, receive, send):
    await answer(send, b"there is nothing here\n", status=404)


ROUTES = {"/json": hundred, "/echo": echo, "/count": count, "/download": download, "/events": events}
