"""Runs the golden vectors of kind `trace`: the plugin's end of a link against frames, step by step."""

import unittest

from test_vectors import expand, meaning_of, vectors, written_out
from toru import connection, driver, frames, messages
from toru.stream import StreamEnded


#: What this SDK speaks. Traces of other features are for other SDKs.
SPOKEN = {"streams", "heads"}
#: The features of the protocol that this SDK leaves out: a trace of any other one must be run.
LEFT_OUT = {"http-out"}


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
        self.end.numbers.last.update({"own": own} if own else {}, **({"peer": peer} if peer else {}))

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
        except StreamEnded:
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
            if unspoken := set(vector.get("own", {}).get("features", [])) - SPOKEN:
                self.assertLessEqual(unspoken, LEFT_OUT)
                continue
            for piece in (None, 1, 7):
                with self.subTest(name, piece=piece):
                    trace = Trace(self, vector, piece)
                    for step in vector["steps"]:
                        trace.step(step)
                    self.assertEqual((trace.sent, trace.error), ([], None), "at the end")


if __name__ == "__main__":
    unittest.main()
