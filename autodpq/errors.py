"""The project's error class."""


class AutoDPQError(Exception):
    """What a person did or gave cannot be used.

    The message is one line that names the file, field or option and says what to do.
    """


class TrainingError(AutoDPQError):
    """Training came to nothing: what was trained has no numbers, and what is beside it goes on."""


def one_line(error: BaseException) -> str:
    """An error's class and message, whatever lines and blanks it has, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
