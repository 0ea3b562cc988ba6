"""The parts of Run."""
