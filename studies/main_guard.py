"""Scripts that would start a study anew in each of its processes."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import FrameType

from autodpq.errors import AutoDPQError


def check_main_guard() -> None:
    """Refuses to start processes from a line of a script that each of them would run again.

    A process that is spawned reads the program's main file, all but what stands below ``if __name__ == "__main__":``.
    Whether that is asked of ``__name__`` or otherwise is left to people: a line below any ``if`` passes.

    Raises:
        AutoDPQError: The line of the main file that is being run stands below no ``if``.
    """
    path = getattr(sys.modules["__main__"], "__file__", None)
    frame: FrameType | None = sys._getframe()
    while frame is not None and not (frame.f_code.co_name == "<module>" and frame.f_code.co_filename == path):
        frame = frame.f_back
    if frame is None or path is None or not Path(path).is_file():  # a notebook, a console, a test
        return
    line = frame.f_lineno
    for statement in ast.parse(Path(path).read_bytes()).body:
        if statement.lineno <= line <= (statement.end_lineno or line) and not isinstance(statement, ast.If):
            raise AutoDPQError(
                f"{path}, line {line}: a study with jobs above 1 starts here, and each of its processes would run this "
                'line again; put it below if __name__ == "__main__":'
            )
