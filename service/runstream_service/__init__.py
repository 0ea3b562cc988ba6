"""What puts the roles together: the embedded service, the cluster on one machine, the command line."""
