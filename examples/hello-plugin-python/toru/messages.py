"""JSON messages: reads what a host sends, strictly, and writes what a plugin sends."""

import base64
import binascii
import json
import re
import struct
from collections import namedtuple

from .frames import DEFAULTS, LOWEST, MAX_WINDOW, ProtocolError
from .heads import MAX_INLINE, SWITCHING_PROTOCOLS, request_head, response_head

MAX_DEPTH = 64
MAX_KEY = 1_024
MAX_TTL_MS = 2**53 - 1
MAX_NUMBER = 2**32 - 1
MAX_INTEGER_DIGITS = 400  # a longer one is beyond every float too

# `name` is the action, or what else a message is; `stream` its number or None; `fields` by name.
Message = namedtuple("Message", "name stream fields")

# ------------------------------------------------------------------------------------------ JSON


class Repeated(dict):
    """An object in which the keys in `again` stand more than once."""

    again = frozenset()


def parse_json(data):
    """The object that is this text."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ProtocolError("not_utf8") from None
    check_depth(text)
    try:
        value = DECODER.decode(text)
    except ValueError as error:
        raise ProtocolError("not_json", str(error)) from None
    if not isinstance(value, dict):
        raise ProtocolError("not_json", "no object")
    check_surrogates(text)
    return value


def to_object(pairs):
    whole = dict(pairs)
    if len(whole) == len(pairs):
        return whole
    whole, names = Repeated(whole), [name for name, _ in pairs]
    whole.again = {name for name in whole if names.count(name) > 1}
    return whole


def refuse_constant(name):
    raise ValueError(f"{name} is not JSON")


def to_integer(digits):
    # Python refuses long integers with an error that says nothing of JSON.
    return int(digits) if len(digits) <= MAX_INTEGER_DIGITS else float(digits)


DECODER = json.JSONDecoder(object_pairs_hook=to_object, parse_constant=refuse_constant, parse_int=to_integer)
ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def check_depth(text):
    """Looks before the text is parsed, so that no nesting can exhaust the stack."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    outside_of_strings = "".join(re.sub(r"\\.", "", text, flags=re.DOTALL).split('"')[::2])
    depth = 0
    for bracket in re.findall(r"[\[{}\]]", outside_of_strings):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise ProtocolError("too_deep")


# A surrogate pair, half of one, or any other escape.
ESCAPE = re.compile(r"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F])|.)")


def check_surrogates(text):
    if "\\u" in text and any(escape[1] for escape in ESCAPE.finditer(text)):
        raise ProtocolError("lone_surrogate")


def decode_base64(text):
    """RFC 4648, section 4, with padding and no stray bits; None where it is not that."""
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return value if base64.b64encode(value).decode() == text else None


# ---------------------------------------------------------------------------------------- fields

REQUIRED = object()


def is_text(value):
    return isinstance(value, str)


def is_text_or_null(value):
    return value is None or is_text(value)


def is_flag(value):
    return isinstance(value, bool)


def is_number(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_object(value):
    return isinstance(value, dict)


def is_texts(value):
    return isinstance(value, list) and all(map(is_text, value))


def is_pairs(value):
    return isinstance(value, list) and all(is_texts(pair) and len(pair) == 2 for pair in value)


# The fields of each message: what one must be, and what it is where it is absent or null.
OFFER = {"features": (is_texts, ()), **{name: (is_number, default) for name, default in DEFAULTS.items()}}
HEAD = {
    "headers": (is_pairs, ()),
    "body": (is_text, None),
    "body_base64": (is_text, None),
    "body_stream": (is_flag, False),
}
FIELDS = {
    "init": {
        "protocol": (is_number, 1),
        "instance_id": (is_text, REQUIRED),
        "plugin_id": (is_text, None),
        "plugin_socket": (is_text, REQUIRED),
        "log_path": (is_text, REQUIRED),
        "data_dir": (is_text, None),
        "config": (is_object, {}),
        "link": (is_number, None),
        **OFFER,
    },
    "ping": {},
    "shutdown": {"grace_ms": (is_number, 5_000)},
    "request": {"method": (is_text, REQUIRED), "path": (is_text, REQUIRED), "upgrade": (is_text, None), **HEAD},
    # What only plugins send is here because the vectors of what is refused have it too.
    "ready": {"protocol": (is_number, REQUIRED), **OFFER},
    "failed": {"code": (is_text, REQUIRED), "message": (is_text, REQUIRED)},
    "pong": {"status": (is_text, "ok"), "detail": (is_text, None)},
    "draining": {"reason": (is_text, REQUIRED)},
    "response": {"status": (is_number, REQUIRED), **HEAD},
    "log": {"level": (is_text, "info"), "message": (is_text, REQUIRED), "fields": (is_object, {})},
    "event": {"name": (is_text, REQUIRED), "details": (is_object, {})},
}
LIFECYCLE = ("init", "ping", "shutdown", "ready", "failed", "pong", "draining")
ENVELOPE = {"type": (is_text, REQUIRED), "payload": (is_object, REQUIRED), "timestamp": (lambda _: True, None)}


def read_fields(source, definitions):
    """The defined fields of an object; others are ignored."""
    refuse_repeated(source, definitions)
    fields = {}
    for name, (is_valid, default) in definitions.items():
        value = source.get(name)
        if value is None:
            if default is REQUIRED:
                raise ProtocolError("missing_field", name)
            value = default
        elif not is_valid(value):
            raise ProtocolError("wrong_type", name)
        fields[name] = value
    return fields


def refuse_repeated(source, names):
    again = getattr(source, "again", ())
    if twice := [name for name in again if name in names or name == "action"]:
        raise ProtocolError("repeated_key", twice[0])


# -------------------------------------------------------------------------------------- messages


def parse(data):
    """The message in the text of a frame."""
    whole = parse_json(data)
    refuse_repeated(whole, {"request_id"})
    envelope = read_fields(whole, ENVELOPE)
    kind, payload, request_id = envelope["type"], envelope["payload"], whole.get("request_id")
    if kind in ("log", "event"):
        return Message(kind, None, read_fields(payload, FIELDS[kind]))
    refuse_repeated(payload, ())
    action = payload.get("action")
    if action is not None and not is_text(action):
        raise ProtocolError("wrong_type", "action")
    action = action and action.lower()
    if kind == "lifecycle" and action in LIFECYCLE:
        read = {"init": read_init, "ready": read_offer}.get(action, read_fields)
        return Message(action, None, read(payload, FIELDS[action]))
    if kind == "http" and action in ("request", "response"):
        read = read_request if action == "request" else read_response
        return Message(action, required_stream(request_id), read(payload))
    if kind == "kv" and action not in (None, "error"):
        return Message("kv_call", required_stream(request_id), read_call(action, payload))
    if kind == "kv" or (kind != "lifecycle" and action == "error"):
        stream = required_stream(request_id)
        answer = read_answer(payload)
        return Message("unknown", stream, {}) if answer is None else Message("kv_answer", stream, answer)
    return Message("unknown", None if request_id is None else stream_number(request_id), {})


def required_stream(request_id):
    if request_id is None:
        raise ProtocolError("missing_field", "request_id")
    return stream_number(request_id)


def stream_number(value):
    if not is_text(value) or not re.fullmatch("[1-9][0-9]{0,9}", value) or int(value) > MAX_NUMBER:
        raise ProtocolError("bad_request_id")
    return int(value)


def read_init(payload, definitions):
    init = read_offer(payload, definitions)
    for name in ("plugin_id", "data_dir"):
        if init[name] is None and init["protocol"] != 1 and init["link"] is None:
            raise ProtocolError("missing_field", name)
        init[name] = init[name] or ""
    return init


def read_offer(payload, definitions):
    """The fields of `init` or `ready`: features and numbers among them."""
    fields = read_fields(payload, definitions)
    fields["features"] = sorted({name for name in fields["features"] if re.fullmatch("[a-z0-9-]{1,32}", name)})
    for name, lowest in LOWEST.items():
        if fields[name] < lowest or (name in ("window", "max_streams") and fields[name] > MAX_WINDOW):
            raise ProtocolError("limit_out_of_range", name)
        fields[name] = min(fields[name], MAX_NUMBER)
    return fields


def read_request(payload):
    fields = read_fields(payload, FIELDS["request"])
    headers, token = list(fields["headers"]), fields["upgrade"]
    body = read_body(fields, token is not None)
    if token is not None and not any(name == "upgrade" for name, _ in headers):
        headers.append(["upgrade", token])
    return request_head(fields["method"], fields["path"], headers, body)


def read_response(payload):
    fields = read_fields(payload, FIELDS["response"])
    body = read_body(fields, fields["status"] == SWITCHING_PROTOCOLS)
    return response_head(fields["status"], list(fields["headers"]), body)


def read_body(fields, upgrade):
    inline, coded, streamed = fields["body"], fields["body_base64"], fields["body_stream"]
    forms = (inline is not None) + (coded is not None) + streamed
    if forms > 1:
        raise ProtocolError("two_bodies")
    if upgrade:
        if forms:
            raise ProtocolError("upgrade_with_body")
        return "tunnel"
    if not forms or streamed:
        return "stream" if streamed else None
    body = inline.encode() if coded is None else decode_base64(coded)
    if body is None:
        raise ProtocolError("bad_base64")
    if len(body) > MAX_INLINE:
        raise ProtocolError("inline_too_large")
    return body


# -------------------------------------------------------------------------------------------- KV

CALL_FIELDS = {"get": {"key"}, "set": {"key", "value", "value_base64", "ttl_ms"}, "delete": {"key"}}
ALL_CALL_FIELDS = CALL_FIELDS["set"] | {"expected", "expected_base64", "prefix", "after", "limit", "ops"}
ANSWER_FIELDS = {"value", "value_base64", "ok", "deleted", "keys", "next", "swapped", "error"}
ERROR_CODES = ("invalid", "too_large", "quota_exceeded", "storage_full", "unavailable", "timeout")
ERROR_CODES += ("unknown_action", "denied")


class KvError(Exception):
    """A KV call that failed; `code` is one of ERROR_CODES."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def kv_error(code, why):
    return {"error": code, "text": why}


def read_call(action, payload):
    """A call of the host: `action` and its fields, or the error that it is answered with."""
    refuse_repeated(payload, ALL_CALL_FIELDS)
    ops = payload.get("ops")
    for op in ops if isinstance(ops, list) else ():
        refuse_repeated(op, ALL_CALL_FIELDS)
    if action not in CALL_FIELDS:
        return kv_error("unknown_action", "plugins know get, set and delete")
    if unknown := payload.keys() - CALL_FIELDS[action] - {"action"}:
        return kv_error("invalid", f"{min(unknown)[:64]!r} has no meaning here")
    key = payload.get("key")
    if not is_text(key) or not key:
        return kv_error("invalid", "key is no text, or empty")
    if len(key.encode()) > MAX_KEY:
        return kv_error("too_large", f"a key has at most {MAX_KEY} bytes")
    if action != "set":
        return {"action": action, "key": key}
    value, ttl_ms = read_value(payload), payload.get("ttl_ms")
    if value is None:
        return kv_error("invalid", "value is neither text nor base64, or both")
    if len(value) > MAX_INLINE:
        return kv_error("too_large", f"a value has at most {MAX_INLINE} bytes")
    if ttl_ms is not None and not (is_number(ttl_ms) and 1 <= ttl_ms <= MAX_TTL_MS):
        return kv_error("invalid", "ttl_ms is not 1 to 2^53 - 1")
    return {"action": action, "key": key, "value": value, "ttl_ms": ttl_ms}


def read_value(payload):
    """The bytes of a value in exactly one of its two forms, else None."""
    forms = [name for name in ("value", "value_base64") if name in payload]
    if len(forms) != 1 or not is_text(payload[forms[0]]):
        return None
    return payload["value"].encode() if forms == ["value"] else decode_base64(payload["value_base64"])


def read_answer(payload):
    """What the host answered to a call; None where it is not understood."""
    refuse_repeated(payload, ANSWER_FIELDS)
    if payload.get("action") is not None:
        error = payload.get("error")
        if not is_object(error) or not is_text(error.get("code")) or not is_text_or_null(error.get("message")):
            return None
        code = error["code"] if error["code"] in ERROR_CODES else "unavailable"
        return kv_error(code, error.get("message") or "")
    answer = interpret_answer(payload)
    if answer is not None and payload.keys() - {*answer, "action", "value_base64"}:
        return kv_error("invalid", "the answer holds a field that has no meaning here")
    return answer


def interpret_answer(payload):
    if "value" in payload and payload["value"] is None:
        return {"value": None}
    if "value" in payload or "value_base64" in payload:
        value = read_value(payload)
        return None if value is None else {"value": value}
    if "keys" in payload:
        keys, after = payload["keys"], payload.get("next")
        return {"keys": keys, "next": after} if is_texts(keys) and is_text_or_null(after) else None
    for name in ("ok", "deleted", "swapped"):
        if name in payload:
            return {name: payload[name]} if is_flag(payload[name]) and (payload[name] or name != "ok") else None
    return None


# --------------------------------------------------------------------------------------- writing


def encode(kind, payload, stream=None):
    """A message as the bytes of its frame."""
    message = {"type": kind, "payload": payload}
    if stream is not None:
        message["request_id"] = str(stream)
    content = ENCODER.encode(message).encode()
    return struct.pack(">I", len(content)) + content


def bytes_field(name, value):
    """The field that holds these bytes: as text where they are text and that is not longer, else as base64."""
    coded_size = (len(value) + 2) // 3 * 4 + len("_base64")
    try:
        plain = value.decode()
    except UnicodeDecodeError:
        plain = None
    if plain is not None and len(ENCODER.encode(plain).encode()) - 2 <= coded_size:
        return {name: plain}
    return {name + "_base64": base64.b64encode(value).decode()}
