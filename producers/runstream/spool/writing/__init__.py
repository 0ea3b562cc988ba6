"""One source, written: a run in one process, its slots, frames and segments."""
