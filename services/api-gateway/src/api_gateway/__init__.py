"""Streams become Postgres rows; rows become a read API and a live stream."""
