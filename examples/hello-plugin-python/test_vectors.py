"""Runs the golden vectors of toru-plugin-api/tests/vectors on this plugin's SDK; the README there says how.

A file, a vector, a key or a step that is not understood here fails. The simple plugin next door passes those marked `simple`.
"""

import json
import pathlib
import unittest
from toru import connection, driver, frames, heads, messages


VECTORS = pathlib.Path(__file__).parents[2] / "toru-plugin-api" / "tests" / "vectors"
COMMON = {"name", "hex", "simple", "limits"}
KEYS = {
    "frame": COMMON | {"from", "meaning"},
    "reject": COMMON | {"cause", "at", "eof"},
    "trace": {"name", "side", "simple", "own", "peer", "start", "last", "steps"},
}
SPLIT_EVERYWHERE, SPLIT_NEAR_ENDS = 4096, 16


def vectors(kind):
    """(name, version, vector) of each vector of a kind."""
    for path in sorted(VECTORS.glob("*.json")):
        if path.name.split("-")[0] not in KEYS:
            raise AssertionError(f"{path.name}: no runner for this kind")
        if not path.name.startswith(kind + "-"):
            continue
        file = json.loads(path.read_text(encoding="utf-8"))
        assert file.keys() == {"kind", "version", "about", "vectors"} and file["kind"] == kind, path.name
        names = [vector["name"] for vector in file["vectors"]]
        assert len(names) == len(set(names)), f"{path.name}: a name comes twice"
        for vector in file["vectors"]:
            name = f"{path.name}: {vector['name']}"
            assert vector.keys() <= KEYS[kind], f"{name}: {vector.keys() - KEYS[kind]} is not understood"
            yield name, file["version"], vector


def expand(parts):
    """The bytes that a `hex` stands for."""
    if isinstance(parts, str):
        return bytes.fromhex(parts)
    if isinstance(parts, list):
        return b"".join(map(expand, parts))
    if parts.keys() == {"text"}:
        return parts["text"].encode()
    if parts.keys() == {"repeat", "times"}:
        return expand(parts["repeat"]) * parts["times"]
    assert parts.keys() == {"frame"}, parts
    payload = expand(parts["frame"])
    return len(payload).to_bytes(4, "big") + payload


def written_out(meaning):
    """A meaning with its bytes and long strings written out."""
    if isinstance(meaning, dict):
        if meaning.keys() == {"hex"}:
            return expand(meaning["hex"])
        if meaning.keys() == {"string"}:
            return expand(meaning["string"]).decode()
        return {key: written_out(value) for key, value in meaning.items()}
    return list(map(written_out, meaning)) if isinstance(meaning, list) else meaning


def splits(size):
    if size <= SPLIT_EVERYWHERE:
        return range(size)
    return [*range(SPLIT_NEAR_ENDS), *range(size - SPLIT_NEAR_ENDS, size)]


def decoder(version, vector):
    limits = vector.get("limits", {"max_message": 1 << 20, "max_data": 256 << 10})
    assert limits.keys() == {"max_message", "max_data"}
    if version == 1:
        return frames.Decoder(frames.V1_MAX_MESSAGE, 0, version=1)
    return frames.Decoder(**limits)


def decode_split(decoder, data, split):
    """The one frame in bytes that come in two pieces."""
    decoder.feed(data[:split])
    if (early := decoder.next()) is not None:
        raise AssertionError(f"{early} came before the last byte")
    decoder.feed(data[split:])
    return decoder.next()


def meaning_of(frame, version=2):
    """What a frame means, in the words of the vectors."""
    if isinstance(frame, frames.Data):
        return {"is": "data", "stream": frame.stream, "end": frame.end, "bytes": frame.data}
    if isinstance(frame, (frames.Credit, frames.Reset)):
        return {"is": type(frame).__name__.lower(), **frame._asdict()}
    if isinstance(frame, frames.Head):
        head = heads.decode_head(frame.flags, frame.data)
        is_answer = frame.flags & frames.ANSWER
        return named("response" if is_answer else "request", frame.stream, head)
    return named(*messages.parse(frame.text)) if version == 2 else meaning_of_v1(frame)


WITH_STREAM = ("request", "response", "kv_call", "kv_answer", "unknown")


def named(name, stream, fields):
    meaning = {"is": name, **fields, **({"stream": stream} if name in WITH_STREAM else {})}
    if "body" in meaning and meaning["body"] is None:
        meaning["body"] = "none"
    return meaning


def meaning_of_v1(frame):
    """Version 1 is for plugins that have no SDK: its messages are read here, in the strict way of version 2."""
    whole = messages.parse_json(frame.text)
    envelope = messages.read_fields(whole, messages.ENVELOPE)
    kind, payload, request_id = envelope["type"], envelope["payload"], whole.get("request_id")
    if kind == "lifecycle":
        fields = {key: value for key, value in payload.items() if key not in ("type", "action")}
        return {"is": f"v1_{payload['action']}", **fields}
    if kind == "http":
        request = payload.get("payload") or {}
        headers = [list(pair) for pair in request.get("headers", {}).items()]
        return {"is": "v1_request", **request, "request_id": request_id, "headers": headers}
    fields = {key: value for key, value in payload.items() if key != "type"}
    return {"is": "v1_kv", **fields, "request_id": request_id, "action": str(payload.get("action")).lower()}


class FrameVectors(unittest.TestCase):
    def test_frames_mean_what_their_vectors_say_at_every_split(self):
        for name, version, vector in vectors("frame"):
            with self.subTest(name):
                self.run_vector(version, vector)

    def run_vector(self, version, vector):
        data, expected = expand(vector["hex"]), written_out(vector["meaning"])
        found = [decode_split(decoder(version, vector), data, split) for split in splits(len(data))]
        frame = found[0]
        self.assertTrue(all(other == frame for other in found), "a split makes a difference")
        self.assertTrue(frames.encode(frame) == data, "a frame has one encoding")
        if vector.get("from") == "plugin":
            # What only plugins send has to be a frame and a message; what a host makes of it is not tried here.
            messages.parse_json(frame.text)
            return
        self.assertIn(vector.get("from", "host"), ("host",))
        meaning = meaning_of(frame, version)
        if "text" not in expected:
            meaning.pop("text", None)
        if expected["is"] in ("init", "unknown", "kv_answer", "shutdown", "ping"):
            self.assertEqual(meaning, expected)
        else:
            self.assertTrue(meaning == expected, f"{str(meaning)[:500]} is not {str(expected)[:500]}")
        if isinstance(frame, frames.Message):
            again = frames.Message(json.dumps(json.loads(frame.text), ensure_ascii=False).encode())
            self.assertTrue(meaning_of(again, version) == meaning_of(frame, version), "written again it means the same")
        if isinstance(frame, frames.Head) and "bad" not in meaning:
            head = heads.decode_head(frame.flags, frame.data)
            self.assertTrue(heads.encode_head(head) == (frame.flags, frame.data), "a head has one encoding")


class RejectVectors(unittest.TestCase):
    def test_rejects_have_their_cause_at_every_split(self):
        for name, version, vector in vectors("reject"):
            with self.subTest(name):
                self.run_vector(version, vector)

    def run_vector(self, version, vector):
        data = expand(vector["hex"])
        for split in splits(len(data)):
            with self.assertRaises(frames.ProtocolError) as caught:
                receiver = decoder(version, vector)
                frame = decode_split(receiver, data, split)
                if vector.get("eof"):
                    self.assertIsNone(frame)
                    receiver.finish()
                meaning_of(frame, version)
            self.assertEqual(caught.exception.cause, vector["cause"], f"split at {split}")
        if "at" in vector:
            early = decoder(version, vector)
            early.feed(data[: vector["at"] - 1])
            self.assertIsNone(early.next(), "known too early")
            early.feed(data[vector["at"] - 1 : vector["at"]])
            with self.assertRaises(frames.ProtocolError) as caught:
                early.next()
            self.assertEqual(caught.exception.cause, vector["cause"])


class Trace:
    """The plugin's end of a link, against frames, step by step."""

    def __init__(self, test, vector, piece):
        own, peer = ({"features": ["streams"], **vector.get(side, {})} for side in ("own", "peer"))
        self.test, self.piece, self.error, self.sent, self.seen = test, piece, None, [], {}
        self.end = connection.Connection({key: own[key] for key in own.keys() - {"features"}}, own["features"])
        if vector.get("start", "ready") == "ready":
            init = {"action": "init", "protocol": 2, "instance_id": "i", "plugin_socket": "", "log_path": "l"}
            self.arrive(messages.encode("lifecycle", {**init, "plugin_id": "p", "data_dir": "d", **peer}))
            self.end.ready()
            self.end.transmit()
        else:
            test.assertEqual(vector["start"], "fresh")
        self.act_last(**vector.get("last", {}))

    def step(self, step):
        ((kind, value),) = step.items()
        if kind in ("in", "do"):
            self.test.assertEqual((self.sent, self.error), ([], None), "before the next step")
        getattr(self, "step_" + kind)(value)

    def step_in(self, value):
        self.arrive(expand(value))
        self.collect()

    def step_do(self, act):
        self.act(act)
        self.collect()

    def step_out(self, meaning):
        self.test.assertTrue(self.sent, f"{meaning} was not sent")
        sent, expected = self.sent.pop(0), written_out(meaning)
        self.test.assertEqual({key: sent.get(key) for key in expected}, expected)

    def step_streams(self, expected):
        streams = self.end.streams.values()
        found = {str(stream.number): [stream.sending, stream.receiving] for stream in streams}
        self.test.assertEqual(found, expected)

    def step_error(self, cause):
        self.test.assertEqual(self.error, cause)
        self.error = None

    def arrive(self, data):
        piece = self.piece or len(data)
        try:
            for at in range(0, len(data), piece):
                self.end.feed(data[at : at + piece])
        except frames.ProtocolError as error:
            self.error = error.cause
        self.seen.update(self.end.streams)
        self.seen.update({event[1].number: event[1] for event in self.end.events if event[0] == "request"})

    def collect(self):
        decoder = frames.Decoder(max_data=1 << 30)
        while data := self.end.transmit():
            decoder.feed(data)
        while frame := decoder.next():
            self.sent.append(meaning_of(frame))
        decoder.finish()

    def act(self, act):
        act = written_out(act)
        getattr(self, "act_" + act.pop("act"))(**act)

    def act_together(self, acts):
        for act in acts:
            self.act(act)

    def act_last(self, own=None, peer=None):
        self.end.last.update({"own": own} if own else {}, **({"peer": peer} if peer else {}))

    def act_ready(self):
        self.end.ready()

    def act_fail(self, code, message):
        self.end.refuse(code, message)

    def act_respond(self, stream, status, headers, body):
        self.end.respond(self.seen[stream], status, headers, None if body == "none" else body)

    def act_call_kv(self, stream, key):
        self.seen[stream] = self.end.call({"action": "get", "key": key})
        self.test.assertEqual(self.seen[stream].number, stream)

    def act_answer_kv(self, stream, value):
        self.end.answer_call(self.seen[stream], {"value": value and value.encode()})

    def act_send(self, stream, bytes):
        self.end.send(self.seen[stream], bytes)

    def act_finish(self, stream):
        self.end.finish(self.seen[stream])

    def act_read(self, stream, bytes, then):
        try:
            data, ended = self.end.read(self.seen[stream])
            found = (len(data), "end" if ended else "pending")
        except connection.StreamEnded:
            found = (0, "reset")
        self.test.assertEqual(found, (bytes, then))

    def act_reset(self, stream, code):
        self.end.reset(self.seen[stream], code)

    def act_wait(self, ms):
        # The timer of a call is the driver's; this is what it does. No other timer is a plugin's.
        self.test.assertGreaterEqual(ms, driver.KV_TIMEOUT * 1000)
        for stream in [stream for stream in self.end.streams.values() if stream.number % 2 == 0]:
            self.end.reset(stream, frames.TIMED_OUT)


class TraceVectors(unittest.TestCase):
    def test_this_end_does_what_its_traces_say_at_every_split(self):
        for name, version, vector in vectors("trace"):
            self.assertEqual(version, 2)
            if vector["side"] == "host":
                continue  # This SDK is for plugins; the README has it run those of side `plugin`.
            self.assertEqual(vector["side"], "plugin")
            for piece in (None, 1, 7):
                with self.subTest(name, piece=piece):
                    trace = Trace(self, vector, piece)
                    for step in vector["steps"]:
                        trace.step(step)
                    self.assertEqual((trace.sent, trace.error), ([], None), "at the end")


if __name__ == "__main__":
    unittest.main()
