"""Charts: points reduced to what a screen shows."""
