"""A plugin of profile `simple`, written from docs/plugins/PROTOCOL.md alone: one request at a time."""

import base64
import json
import os
import socket
import sys

MAX_MESSAGE = 1_048_576  # what a plugin accepts that does not say
RESET = b"\x03"


class ProtocolError(Exception):
    """The host broke the protocol; the text is the cause as the test vectors name it."""


def read_exactly(link, size):
    data = link.read(size)
    if len(data) < size:
        raise ProtocolError("eof_inside_frame")
    return data


def read_message(link):
    """The next message; None at the end of the connection."""
    while header := link.read(1):
        length = int.from_bytes(header + read_exactly(link, 3), "big")
        if not 0 < length <= MAX_MESSAGE:
            raise ProtocolError("too_long" if length else "length_zero")
        kind = read_exactly(link, 1)
        if kind not in (b"{", RESET):
            raise ProtocolError("unknown_kind")
        if kind == RESET and length != 6:
            raise ProtocolError("wrong_length")
        payload = kind + read_exactly(link, length - 1)
        if kind == b"{":
            try:
                return json.loads(payload.decode())
            except ValueError as error:
                raise ProtocolError("not_utf8" if isinstance(error, UnicodeDecodeError) else "not_json") from error
        # There is nothing to do for a RESET: the answer is the end of a request.
        if not any(payload[2:]):
            raise ProtocolError("stream_zero")
    return None


def reply(message):
    """The payload that answers a message, or None."""
    kind, payload = message["type"], message["payload"]
    action = (payload.get("action") or "").lower()
    if (kind, action) == ("lifecycle", "init"):
        return {"action": "ready", "protocol": 2, "features": [], "max_streams": 1}
    if (kind, action) == ("lifecycle", "ping"):
        return {"action": "pong", "status": "ok"}
    if (kind, action) == ("http", "request"):
        return handle(payload["method"], payload["path"], payload.get("headers", []), body_of(payload))
    if message.get("request_id") is not None:
        error = {"code": "unknown_action", "message": "this plugin answers HTTP only"}
        return {"action": "error", "error": error}
    return None


def body_of(payload):
    return base64.b64decode(payload.get("body_base64") or "") or (payload.get("body") or "").encode()


def handle(method, path, headers, body):
    status, text = 404, "not found\n"
    if path == "/":
        status, text = 200, "Hello from a simple plugin\n"
    elif path == "/echo":
        status, text = 200, body.decode(errors="replace")
    return {"action": "response", "status": status, "headers": [["content-type", "text/plain"]], "body": text}


def main():
    link = socket.socket(fileno=int(os.environ["TORU_PLUGIN_FD"])).makefile("rwb")
    while message := read_message(link):
        if message["payload"].get("action") == "shutdown":
            return
        if payload := reply(message):
            # The answer has the type and the request_id of what it answers.
            text = json.dumps({**message, "payload": payload}).encode()
            link.write(len(text).to_bytes(4, "big") + text)
            link.flush()
    # The host is gone. A plugin that starts processes of its own kills its group here.
    sys.exit(1)


if __name__ == "__main__":
    main()
