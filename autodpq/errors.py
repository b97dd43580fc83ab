"""The project's one error class."""


class AutoDPQError(Exception):
    """What a person did or gave cannot be used.

    The message is one line that names the file, field or option and says what to do.
    """
