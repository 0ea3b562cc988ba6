"""Points of a run, from both tiers."""
