"""Takes over what other tools have recorded: `runstream import`."""
