"""Where trials are trained: here, in processes, on a cluster."""
