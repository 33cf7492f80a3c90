"""Who wants to be reached where: addresses are confirmed before they get alerts, and unsubscribed by a link.

`Verification` asks an address and takes its answer, `Leaving` takes it off; `serving` has the endpoints of both.
"""
