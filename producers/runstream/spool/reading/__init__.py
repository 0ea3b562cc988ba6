"""One source, read: its segments, its slots in order, and the events made of them."""
