"""A plugin of profile `simple`, written from docs/plugins/PROTOCOL.md alone: one request at a time."""

import base64
import json
import os
import socket
import struct
import sys

link = socket.socket(fileno=int(os.environ["TORU_PLUGIN_FD"])).makefile("rwb")


def read_frame():
    header = link.read(4)
    if len(header) < 4:
        # The host is gone. A plugin that starts processes of its own kills its group here.
        sys.exit(1)
    return link.read(struct.unpack(">I", header)[0])


def write(kind, payload, request_id=None):
    message = {"type": kind, "payload": payload}
    if request_id is not None:
        message["request_id"] = request_id
    text = json.dumps(message).encode()
    link.write(struct.pack(">I", len(text)) + text)
    link.flush()


def handle(method, path, headers, body):
    if path == "/":
        return 200, [["content-type", "text/plain"]], "Hello from a simple plugin\n"
    if path == "/echo":
        return 200, [["content-type", "text/plain"]], body.decode(errors="replace")
    return 404, [["content-type", "text/plain"]], "not found\n"


def on_http(request_id, payload):
    body = base64.b64decode(payload.get("body_base64") or "") or (payload.get("body") or "").encode()
    status, headers, text = handle(payload["method"], payload["path"], payload["headers"], body)
    write("http", {"action": "response", "status": status, "headers": headers, "body": text}, request_id)


def on_lifecycle(payload):
    action = payload["action"]
    if action == "init":
        write("lifecycle", {"action": "ready", "protocol": 2, "features": [], "max_streams": 1})
    elif action == "ping":
        write("lifecycle", {"action": "pong", "status": "ok"})
    elif action == "shutdown":
        sys.exit(0)


while True:
    frame = read_frame()
    if not frame.startswith(b"{"):
        continue  # RESET: the answer is its end.
    message = json.loads(frame)
    if message["type"] == "lifecycle":
        on_lifecycle(message["payload"])
    elif message["type"] == "http":
        on_http(message["request_id"], message["payload"])
    elif "request_id" in message:
        error = {"code": "unknown_action", "message": "this plugin answers HTTP only"}
        write(message["type"], {"action": "error", "error": error}, message["request_id"])
