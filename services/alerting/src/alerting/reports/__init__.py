"""Scheduled reports: when one is due, what it tells, and that it is told once.

`schedule` says when and about what, `condense` makes of the gateway's answer what is told, `content` says it in words
and `office` has it made, stated and delivered; its picture is in `picture`.
"""
