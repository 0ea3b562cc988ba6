"""What travels and how it is packed: events, and the points in them."""
