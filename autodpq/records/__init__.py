"""The files of a study's folder: what each holds, and the one place where it is written and read."""
