"""The Toru plugin protocol, version 2, on the standard library alone.

Copy this folder beside your own plugin. To read it, take `frames` (bytes and frames), `heads` and `messages` (what they
mean), `stream` and `connection` (the rules of a link, without I/O), `plugin` (what a handler works with), and `driver`
(asyncio) in this order.
"""

from .driver import run
from .messages import KvError
from .plugin import Body, Plugin, Refused, Request, Response

__all__ = ["Body", "KvError", "Plugin", "Refused", "Request", "Response", "run"]
