"""HTTP heads: what makes one valid, and the binary form of HEAD frames (feature `heads`).

A head is a dictionary: `method`, `path`, `headers` or `status`, `headers`, and `body`: None, the bytes, or
"stream" or "tunnel" for what follows as DATA. One that is well laid out but no HTTP head has `bad` and `body`
alone; it costs its stream, not the connection.
"""

import re
import struct

from .frames import ANSWER, NO_BODY, UPGRADE, WHOLE_BODY, ProtocolError

MAX_HEAD = 65_536
MAX_INLINE = 512 << 10  # an inline body, or the values of one KV message
SWITCHING_PROTOCOLS = 101

METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
PATH = re.compile(r"/[!-\"$-~]*")  # visible ASCII but `#`
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def request_head(method, path, headers, body):
    if not METHOD.fullmatch(method):
        return {"bad": "bad_method", "body": body}
    bad = bad_header(headers)
    if not bad and body == "tunnel" and not any(name == "upgrade" for name, _ in headers):
        bad = "bad_upgrade"
    if not bad and not PATH.fullmatch(path):
        bad = "bad_path"
    if bad:
        return {"bad": bad, "body": body}
    return {"method": method, "path": path, "headers": headers, "body": body}


def response_head(status, headers, body):
    if not is_status(status):
        return {"bad": "bad_status", "body": body}
    if bad := bad_header(headers):
        return {"bad": bad, "body": body}
    return {"status": status, "headers": headers, "body": body}


def is_status(status):
    return status == SWITCHING_PROTOCOLS or 200 <= status <= 599


def bad_header(headers):
    for name, value in headers:
        if not HEADER_NAME.fullmatch(name):
            return "bad_header_name"
        if not HEADER_VALUE.fullmatch(value):
            return "bad_header_value"
    return None


def decode_head(flags, data):
    """The head in what follows the stream number of a HEAD frame."""
    fields = Fields(data)
    if flags & ANSWER:
        status, headers = fields.number(2), fields.headers()
        if bool(flags & UPGRADE) != (status == SWITCHING_PROTOCOLS):
            raise ProtocolError("upgrade_mismatch")
        return response_head(status, headers, fields.body(flags))
    method, path, headers = fields.text(1), fields.text(2), fields.headers()
    return request_head(method, path, headers, fields.body(flags))


class Fields:
    """The fields of a head part, read from the front. Bytes become the code points of the same numbers."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        self.at += size
        if self.at > len(self.data):
            raise ProtocolError("head_cut_short")
        return self.data[self.at - size : self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "big")

    def text(self, size):
        return self.take(self.number(size)).decode("latin-1")

    def headers(self):
        return [[self.text(2), self.text(2)] for _ in range(self.number(2))]

    def body(self, flags):
        if self.at > MAX_HEAD:
            raise ProtocolError("head_too_large")
        rest = self.data[self.at :]
        if flags & WHOLE_BODY:
            if len(rest) > MAX_INLINE:
                raise ProtocolError("inline_too_large")
            return rest
        if rest:
            raise ProtocolError("head_trailing_bytes")
        return None if flags & NO_BODY else "tunnel" if flags & UPGRADE else "stream"


def encode_head(head):
    """The flags, and what follows the stream number, of a HEAD frame."""

    def sized(layout, text):
        return struct.pack(layout, len(text)) + text.encode("latin-1")

    body = head["body"]
    flags = {None: NO_BODY, "stream": 0, "tunnel": UPGRADE}.get(body, WHOLE_BODY)
    if "status" in head:
        flags |= ANSWER
        parts = [struct.pack(">H", head["status"])]
    else:
        parts = [sized(">B", head["method"]), sized(">H", head["path"])]
    parts.append(struct.pack(">H", len(head["headers"])))
    parts += [sized(">H", name) + sized(">H", value) for name, value in head["headers"]]
    return flags, b"".join(parts) + (body if flags & WHOLE_BODY else b"")
