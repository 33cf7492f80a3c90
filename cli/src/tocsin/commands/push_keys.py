"""`tocsin push-keys`: the pair of keys by which push services know this installation."""

from __future__ import annotations

from alerting.channels.vapid import new_keys
from tocsin.console import err


def push_keys() -> None:
    """Make a pair of keys for web push (VAPID) and print it, once.

    Nothing is stored. With other keys every browser has to subscribe anew.

    Example: `tocsin push-keys`

    What happens next: the first line goes into a file that only alerting may read (`alerting.webpush.vapid_key_file`),
    the second is what a web page subscribes with (`applicationServerKey`).
    """
    keys = new_keys()
    err.print("The private key, for alerting alone, and the public key, for web pages. They are shown this once:")
    print(keys.private)
    print(keys.public)
