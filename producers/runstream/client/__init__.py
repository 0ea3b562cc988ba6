"""What the SDK asks of a service over HTTP, and the files it sends."""
