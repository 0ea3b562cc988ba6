"""The files of the store: their Arrow schemas, their seal, and the overviews in them."""
