"""Models of a workspace: how one is registered from a run, and how versions are looked up."""
