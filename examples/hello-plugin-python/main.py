"""A Toru plugin in Python: the standard library and the folder `toru` beside this file, nothing else.

    GET  /          a greeting, from the settings
    GET  /json      100 bytes of JSON
    POST /echo      the request's body, as it arrives
    GET  /counter   how often it was counted; POST counts one more
    GET  /wait?ms=  an answer after that many milliseconds
"""

import asyncio
import json
import urllib.parse

import toru

HUNDRED_BYTES = json.dumps({"plugin": "hello-python", "padding": "." * 59}).encode()
assert len(HUNDRED_BYTES) == 100

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
    if path == "/counter":
        return await counter(request, plugin)
    if path == "/wait":
        milliseconds = dict(urllib.parse.parse_qsl(query)).get("ms", "100")
        if not milliseconds.isdigit() or int(milliseconds) > 60_000:
            return toru.Response(400, {}, "ms must be a number from 0 to 60000\n")
        await asyncio.sleep(int(milliseconds) / 1000)
        return toru.Response(200, {}, "waited\n")
    return toru.Response(404, {}, f"there is nothing at {path}\n")


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
