"""What is said of it, in the reader's language."""
