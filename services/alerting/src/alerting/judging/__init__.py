"""Who is told of a match, and who is not and why."""
