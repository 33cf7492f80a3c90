"""What rings: rules, what they watch, and what of it they match."""
