"""What is not sent singly: put aside as a line of a box, and told with all others of the box in one digest."""
