"""What a file says: rows in batches, with errors that name the file, the row and the column."""
