"""Runs the vectors marked `simple` on the plugin of that profile, examples/simple-plugin-python."""

import importlib.util
import io
import json
import pathlib
import unittest

from test_vectors import expand, named, splits, vectors, written_out
from toru import messages

PATH = pathlib.Path(__file__).parents[1] / "simple-plugin-python" / "main.py"
spec = importlib.util.spec_from_file_location("simple_plugin", PATH)
simple = importlib.util.module_from_spec(spec)
spec.loader.exec_module(simple)


class Pieces(io.RawIOBase):
    """A socket on which the bytes arrive in these pieces, and which is closed then."""

    def __init__(self, *pieces):
        self.pieces = [piece for piece in pieces if piece]

    def readable(self):
        return True

    def readinto(self, buffer):
        piece = self.pieces.pop(0) if self.pieces else b""
        size = min(len(piece), len(buffer))
        buffer[:size] = piece[:size]
        if piece[size:]:
            self.pieces.insert(0, piece[size:])
        return size


def read(*pieces):
    return simple.read_message(io.BufferedReader(Pieces(*pieces)))


def simple_vectors(kind):
    return [(name, vector) for name, _, vector in vectors(kind) if vector.get("simple")]


class SimplePlugin(unittest.TestCase):
    def test_frames_are_read_at_every_split(self):
        for name, vector in simple_vectors("frame"):
            with self.subTest(name):
                data, meaning = expand(vector["hex"]), written_out(vector["meaning"])
                found = [read(data[:split], data[split:]) for split in splits(len(data))]
                self.assertTrue(all(message == found[0] for message in found))
                if meaning["is"] == "reset":
                    self.assertIsNone(found[0], "a RESET is passed over")
                elif vector.get("from") != "plugin":
                    self.check_reply(found[0], meaning)

    def check_reply(self, message, meaning):
        if meaning["is"] == "request":
            for key in ("method", "path", "headers"):
                self.assertEqual(message["payload"][key], meaning[key])
            body = b"" if meaning["body"] == "none" else meaning["body"]
            self.assertEqual(simple.body_of(message["payload"]), body)
        answered_by = {"init": "ready", "ping": "pong", "request": "response", "shutdown": None}
        expected = answered_by.get(meaning["is"], "error" if meaning.get("stream") else None)
        payload = simple.reply(message)
        self.assertEqual(payload and payload["action"], expected)

    def test_rejects_have_their_cause_at_every_split(self):
        for name, vector in simple_vectors("reject"):
            data, at = expand(vector["hex"]), vector.get("at")
            # At once when the cause is known: nothing after these bytes is needed.
            for split in splits(at or len(data)):
                with self.subTest(name, split=split), self.assertRaises(simple.ProtocolError) as caught:
                    read(data[:split], data[split:at])
                self.assertEqual(str(caught.exception), vector["cause"])

    def test_traces_are_followed_at_every_split(self):
        for name, vector in simple_vectors("trace"):
            for piece in (1, 7, 1 << 20):
                with self.subTest(name, piece=piece):
                    self.run_trace(vector["steps"], piece)

    def run_trace(self, steps, piece):
        waiting, sent = None, []
        for step in steps:
            ((kind, value),) = step.items()
            if kind == "in":
                self.assertEqual(sent, [])
                data = expand(value)
                waiting = read(*(data[at : at + piece] for at in range(0, len(data), piece)))
            elif kind == "do":
                sent.append(self.act(waiting, written_out(value)))
            elif kind == "out":
                # A ping needs no act to be answered.
                message = sent.pop() if sent else {**waiting, "payload": simple.reply(waiting)}
                meaning = named(*messages.parse(json.dumps(message).encode()))
                expected = written_out(value)
                self.assertEqual({key: meaning.get(key) for key in expected}, expected)
            else:
                self.assertEqual(kind, "streams")  # It keeps none: a request is open until its answer is written.
        self.assertEqual(sent, [])

    def act(self, message, act):
        if act["act"] == "ready":
            return {**message, "payload": simple.reply(message)}
        self.assertEqual((act["act"], str(act["stream"])), ("respond", message["request_id"]))
        body = {} if act["body"] == "none" else {"body": act["body"].decode()}
        payload = {"action": "response", "status": act["status"], "headers": act["headers"], **body}
        handle, simple.handle = simple.handle, lambda *request: payload
        try:
            return {**message, "payload": simple.reply(message)}
        finally:
            simple.handle = handle


if __name__ == "__main__":
    unittest.main()
