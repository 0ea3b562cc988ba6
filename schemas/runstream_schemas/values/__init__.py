"""Values that are more than a number or a text: histograms, media, and the columns they have."""
