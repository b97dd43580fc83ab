"""What can be named, and options given as text."""
