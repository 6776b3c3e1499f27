"""The Toru plugin protocol, version 2, on the standard library alone.

Read it in this order: `frames` (bytes and frames), `heads` and `messages` (what frames mean), `connection` (the rules
of a link, without I/O), `plugin` (what a handler works with), `driver` (asyncio). Copy this folder beside your own plugin.
"""

from .driver import run
from .messages import KvError
from .plugin import Body, Plugin, Refused, Request, Response

__all__ = ["Body", "KvError", "Plugin", "Refused", "Request", "Response", "run"]
