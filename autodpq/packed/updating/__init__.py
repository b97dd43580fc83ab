"""Exported models that are trained on with new rows, and what tells the new file from the old one."""
