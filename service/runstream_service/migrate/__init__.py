"""Scripts, notebooks and shell files of the original SDK, rewritten for runstream."""
