"""What the paths of main.py answer."""

import unittest

import main
from test_connection import request
from test_driver import LinkTest
from toru import frames


class Paths(LinkTest):
    async def ask(self, path, *data):
        """The answer's head, and its whole body."""
        host = await self.meet(main.handle)
        await host.write(request(1, path=path, body_stream=bool(data)))
        for n, chunk in enumerate(data, 1):
            await host.send(frames.Data(1, n == len(data), chunk))
        head = (await host.hear_all("response"))[0]
        if head["body"] != "stream":
            return head["status"], head["body"]
        body, ended = b"", False
        while not ended:
            piece = (await host.hear_all("data"))[0]
            body, ended = body + piece["bytes"], piece["end"]
        return head["status"], body

    async def test_a_download_has_as_many_bytes_as_asked(self):
        self.assertEqual(await self.ask("/download?bytes=5"), (200, b"....."))
        self.assertEqual((await self.ask("/download?bytes=1048577"))[0], 400)
        self.assertEqual((await self.ask("/download"))[0], 400)

    async def test_a_number_of_thousands_of_digits_is_the_clients_fault(self):
        digits = "1" * 5_000
        for path in ("/download?bytes=", "/wait?ms=", "/events?n=", "/events?n=1&ms="):
            self.assertEqual((await self.ask(path + digits))[0], 400, path)

    async def test_an_upload_is_counted(self):
        self.assertEqual(await self.ask("/count", b"12345", b"678"), (200, b"8"))

    async def test_events_come_in_order(self):
        self.assertEqual(await self.ask("/events?n=3&ms=1"), (200, b"data: 0\n\ndata: 1\n\ndata: 2\n\n"))
        self.assertEqual((await self.ask("/events?n=soon"))[0], 400)


if __name__ == "__main__":
    unittest.main()
