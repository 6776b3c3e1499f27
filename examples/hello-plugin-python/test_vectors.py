"""Runs the golden vectors of toru-plugin-api/tests/vectors on this plugin's SDK; the README there says how.

A file, a vector or a key that is not understood here fails. Those of kind `trace` are run by test_traces.py, and those
marked `simple` by test_simple.py on the plugin next door, too.
"""

import json
import pathlib
import unittest
from toru import frames, heads, messages


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


if __name__ == "__main__":
    unittest.main()
