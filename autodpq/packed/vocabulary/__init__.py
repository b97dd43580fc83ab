"""What ids stand for: raw values to ids, and the file beside a packed one that says so."""
