"""Writes the page of an alert's mail to a file, to be looked at in a browser: `python docs/mail.py mail.html`.

The signal is made up, its candles are real (the shared data has to be there). `docs/pictures/mail.png` is how a browser
showed it.
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.picture import charts

from alerting.channels import Message
from alerting.channels.letter import PICTURE_ID, page
from alerting.picture.draw import draw
from alerting.words.render import of_signal
from alerting.words.voice import RECORD


def mail() -> str:
    """The page with its picture inside."""
    chart = next(charts())
    content = of_signal(chart.signal, "Everything on 1h", RECORD)
    picture = draw(chart, "dark")
    message = Message(
        delivery_id=chart.signal.signal_id,
        alert_id=chart.signal.signal_id,
        title=content.title,
        text="EMA 9 crossed below EMA 21. The close is under both.",
        fields=content.fields,
        ts_ms=chart.signal.confirmed_ms,
        picture=picture,
    )
    inside = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    return page(message, "https://alerts.example.org/unsubscribe/").replace(f"cid:{PICTURE_ID}", inside)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(mail())
    print(f"written: {target}")
