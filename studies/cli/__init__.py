"""The command line ``autodpq-study``."""
