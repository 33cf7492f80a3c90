"""The HTTP edge: read API, live stream, keys, errors as problem documents."""
