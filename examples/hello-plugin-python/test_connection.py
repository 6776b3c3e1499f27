"""What the vectors do not cover of `Connection`: bounds, and the order of what goes out."""

import unittest

from test_vectors import meaning_of
from toru import connection, frames, messages

INIT = {
    "action": "init",
    "protocol": 2,
    "instance_id": "i",
    "plugin_id": "p",
    "plugin_socket": "",
    "log_path": "l",
    "data_dir": "d",
    "features": ["streams"],
}


def connect(limits=None, **init):
    end = connection.Connection(limits)
    end.feed(messages.encode("lifecycle", {**INIT, **init}))
    end.ready()
    end.transmit()
    end.take_events()
    return end


def request(number, **body):
    payload = {"action": "request", "method": "POST", "path": "/", "headers": [], **body}
    return messages.encode("http", payload, number)


def ask(end, number, **body):
    """Opens a stream as the host does."""
    end.feed(request(number, **body))
    return end.streams[number]


def sent(end):
    """What goes out, as meanings."""
    decoder = frames.Decoder(max_data=1 << 30)
    while data := end.transmit():
        decoder.feed(data)
    found = []
    while frame := decoder.next():
        found.append(meaning_of(frame))
    return found


class ConnectionBounds(unittest.TestCase):
    def test_a_window_of_single_bytes_is_joined(self):
        end = connect()
        stream = ask(end, 1, body_stream=True)
        end.feed(frames.encode(frames.Data(1, False, b"x")) * 65_536)
        self.assertLess(len(stream.unread), 64)
        self.assertEqual(end.read(stream), (b"x" * 65_536, False))

    def test_a_host_that_reads_nothing_cannot_force_frames_without_end(self):
        end = connect({"max_streams": 1}, max_streams=1)
        ping = messages.encode("lifecycle", {"action": "ping"})
        allowed = 4 * (1 + 1) + 64
        end.feed(ping * allowed)
        with self.assertRaises(frames.ProtocolError) as caught:
            end.feed(ping)
        self.assertEqual(caught.exception.cause, "peer_does_not_read")

    def test_a_host_that_reads_may_ping_for_ever(self):
        end = connect({"max_streams": 1}, max_streams=1)
        for _ in range(1_000):
            end.feed(messages.encode("lifecycle", {"action": "ping"}))
            self.assertEqual([frame["is"] for frame in sent(end)], ["pong"])

    def test_calls_in_work_hold_at_most_4_mebibytes(self):
        end = connect()
        call = {"action": "set", "key": "k", "value": "v" * (512 << 10)}
        for number in range(1, 17, 2):
            end.feed(messages.encode("kv", call, number))
        calls = [stream for name, stream, *_ in end.take_events() if name == "kv_call"]
        self.assertEqual(len(calls), 8)
        end.feed(messages.encode("kv", call, 17))
        self.assertEqual([frame["error"] for frame in sent(end)], ["unavailable"])
        end.answer_call(calls[0], {"value": None})
        end.feed(messages.encode("kv", call, 19))
        self.assertIn("kv_call", [event[0] for event in end.take_events()])

    def test_a_call_larger_than_the_host_accepts_is_not_sent(self):
        end = connect(max_message=65_536)
        with self.assertRaises(messages.KvError) as caught:
            end.call({"action": "set", "key": "k", "value": "v" * 65_536})
        self.assertEqual((caught.exception.code, end.streams, sent(end)), ("too_large", {}, []))

    def test_an_answer_larger_than_a_message_is_streamed(self):
        end = connect(max_message=65_536, window=1 << 20)
        stream = ask(end, 1)
        end.respond(stream, 200, [], b"v" * 65_536)
        head, *data = sent(end)
        self.assertEqual(head["body"], "stream")
        self.assertEqual(b"".join(frame["bytes"] for frame in data), b"v" * 65_536)

    def test_nothing_is_handled_after_a_protocol_error(self):
        end = connect()
        with self.assertRaises(frames.ProtocolError):
            end.feed(frames.encode(frames.Reset(1, 0)) + request(1))
        end.feed(request(1))
        self.assertEqual((end.take_events(), end.streams), ([], {}))

    def test_each_unknown_kind_is_told_of_once(self):
        end = connect()
        end.feed(messages.encode("weather", {"action": "rain"}) * 3)
        self.assertEqual([event[0] for event in end.take_events()], ["unknown"])


class ConnectionOrder(unittest.TestCase):
    def test_streams_take_turns_of_64_kib_while_others_wait(self):
        end = connect(window=1 << 20)
        for number in (1, 3):
            stream = ask(end, number)
            end.respond(stream, 200, [], "stream")
            end.send(stream, bytes(100_000))
        turns = [(frame["stream"], len(frame["bytes"])) for frame in sent(end) if frame["is"] == "data"]
        self.assertEqual(turns, [(1, 65_536), (3, 65_536), (1, 34_464), (3, 34_464)])

    def test_other_frames_go_before_data(self):
        end = connect()
        stream = ask(end, 1, body_stream=True)
        end.respond(stream, 200, [], "stream")
        end.send(stream, b"x")
        end.feed(frames.encode(frames.Data(1, False, bytes(32_768))))
        end.read(stream)
        end.feed(messages.encode("lifecycle", {"action": "ping"}))
        self.assertEqual([frame["is"] for frame in sent(end)], ["response", "credit", "pong", "data"])

    def test_credit_goes_on_for_a_body_that_nobody_reads_any_more(self):
        end = connect()
        stream = ask(end, 1, body_stream=True)
        end.respond(stream, 200, [], "stream")
        end.feed(frames.encode(frames.Data(1, False, bytes(40_000))))
        end.discard(stream)
        end.feed(frames.encode(frames.Data(1, False, bytes(25_536))))
        end.feed(frames.encode(frames.Data(1, False, bytes(10_000))))
        self.assertEqual([frame["n"] for frame in sent(end) if frame["is"] == "credit"], [40_000, 35_536])


class Messages(unittest.TestCase):
    def test_only_keys_of_the_protocol_may_not_be_repeated(self):
        text = b'{"type":"lifecycle","x":1,"x":2,"payload":{"action":"ping","y":1,"y":2}}'
        self.assertEqual(messages.parse(text).name, "ping")

    def test_long_numbers_are_json(self):
        text = b'{"type":"lifecycle","payload":{"action":"ping","x":%s}}' % (b"9" * 10_000)
        self.assertEqual(messages.parse(text).name, "ping")

    def test_brackets_inside_of_strings_do_not_nest(self):
        text = b'{"type":"lifecycle","payload":{"action":"ping","x":"\\"%s"}}' % (b"[" * 100)
        self.assertEqual(messages.parse(text).name, "ping")

    def test_bytes_go_as_text_unless_base64_is_shorter(self):
        self.assertEqual(messages.bytes_field("value", "hé".encode()), {"value": "hé"})
        self.assertEqual(messages.bytes_field("value", b"\xff"), {"value_base64": "/w=="})
        self.assertEqual(messages.bytes_field("value", bytes(30)), {"value_base64": "A" * 40})


if __name__ == "__main__":
    unittest.main()
