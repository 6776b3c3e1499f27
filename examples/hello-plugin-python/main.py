"""A Toru plugin in Python: the standard library and the folder `toru` beside this file, nothing else.

    GET  /                 a greeting, from the settings
    GET  /json             100 bytes of JSON
    POST /echo             the request's body, as it arrives
    POST /count            how many bytes the request's body has
    GET  /download?bytes=  so many dots
    GET  /counter          how often it was counted; POST counts one more
    GET  /wait?ms=         an answer after that many milliseconds
    GET  /events?n=        so many server-sent events; with &ms= one after that many milliseconds each
"""

import asyncio
import json
import urllib.parse

import toru

HUNDRED_BYTES = json.dumps({"plugin": "hello-python", "padding": "." * 59}).encode()
assert len(HUNDRED_BYTES) == 100

# The longest download, kept whole, the most events, and the longest wait in milliseconds.
DOTS = b"." * (1 << 20)
MAX_EVENTS = 10_000
MAX_WAIT = 60_000

# Two counts at once must not read the same number: get and set are two calls.
counting = asyncio.Lock()


async def handle(request, plugin):
    path, _, query = request.path.partition("?")
    if path == "/":
        greeting = plugin.config.get("greeting", "Hello")
        return toru.Response(200, {"content-type": "text/plain; charset=utf-8"}, f"{greeting} from Python\n")
    if path == "/json":
        return toru.Response(200, {"content-type": "application/json"}, HUNDRED_BYTES)
    if path == "/echo":
        return toru.Response(200, {"content-type": "application/octet-stream"}, request.body)
    if path == "/count":
        return toru.Response(200, {}, str(await length(request.body)))
    if path == "/download":
        if (wanted := number(query, "bytes", len(DOTS))) is None:
            return toru.Response(400, {}, f"bytes must be a number from 0 to {len(DOTS)}\n")
        return toru.Response(200, {"content-type": "application/octet-stream"}, DOTS[:wanted])
    if path == "/counter":
        return await counter(request, plugin)
    if path == "/wait":
        if (milliseconds := number(query, "ms", MAX_WAIT, default=100)) is None:
            return toru.Response(400, {}, f"ms must be a number from 0 to {MAX_WAIT}\n")
        await asyncio.sleep(milliseconds / 1000)
        return toru.Response(200, {}, "waited\n")
    if path == "/events":
        count, milliseconds = number(query, "n", MAX_EVENTS), number(query, "ms", MAX_WAIT, default=0)
        if count is None or milliseconds is None:
            return toru.Response(400, {}, f"n must be a number up to {MAX_EVENTS}, ms one up to {MAX_WAIT}\n")
        # A proxy before the host, nginx for one, would else collect events until its buffer is full.
        headers = {"content-type": "text/event-stream", "x-accel-buffering": "no"}
        return toru.Response(200, headers, events(count, milliseconds / 1000))
    return toru.Response(404, {}, f"there is nothing at {path}\n")


def number(query, name, most, default=None):
    """The number of `name=` in a query, or the default without it; None when it is no number up to `most`."""
    text = dict(urllib.parse.parse_qsl(query)).get(name)
    if text is None:
        return default
    # Python refuses to read numbers of thousands of digits; none here needs more than twenty.
    digits = text.isascii() and text.isdigit() and len(text) <= 20
    return int(text) if digits and int(text) <= most else None


async def length(body):
    count = 0
    async for chunk in body:
        count += len(chunk)
    return count


async def events(count, pause):
    for n in range(count):
        if pause:
            await asyncio.sleep(pause)
        yield f"data: {n}\n\n".encode()


async def counter(request, plugin):
    if request.method not in ("GET", "POST"):
        return toru.Response(405, {"allow": "GET, POST"}, "use GET or POST\n")
    async with counting:
        count = int(await plugin.kv.get("counter") or 0)
        if request.method == "POST":
            count += 1
            await plugin.kv.set("counter", str(count).encode())
    return toru.Response(200, {"content-type": "application/json"}, json.dumps({"count": count}))


if __name__ == "__main__":
    toru.run(handle)
