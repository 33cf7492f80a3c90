"""The channel `apprise`: everything else, by the library of that name.

Only `library` and `asking` import it, when the first message is sent: that takes two seconds and 50 MB, which nobody
should pay who does not use it.
"""
