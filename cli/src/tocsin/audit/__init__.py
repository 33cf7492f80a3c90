"""The audit: what must hold between the streams and the database, checked from the stored bytes alone."""
