"""What exchanges really sent, said again to whoever connects: REST bodies and WebSocket frames, byte for byte.

    session = SESSIONS["coinbase"](shared_data / "frames")
    async with RecordedExchange(session.answers, session.frames) as server:
        ... a ccxt client with `server.options(...)` hears it ...
        assert what_it_heard == session.trades()

Binance was recorded on combined streams. ccxt subscribes on `/ws`, where the same events come without the wrapper
`{"stream":..,"data":..}`, so its frames are sent without it, otherwise unchanged.
"""

from tests.recorded.decode import Traded, trades
from tests.recorded.recording import payload, read, read_binance
from tests.recorded.server import Answer, RecordedExchange
from tests.recorded.sessions import SESSIONS, Session, kraken_v1

__all__ = [
    "SESSIONS",
    "Answer",
    "RecordedExchange",
    "Session",
    "Traded",
    "kraken_v1",
    "payload",
    "read",
    "read_binance",
    "trades",
]
