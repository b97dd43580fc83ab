"""Drives headless Chromium by its DevTools protocol over a pair of pipes: no driver, no port, no package."""

from __future__ import annotations

import json
import os
import selectors
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.patience import PATIENCE


class Browser:
    """One page of a headless Chromium.

    Attributes:
        events: All that the browser has told, in order: method and parameters.
    """

    def __init__(self, program: str, profile: Path) -> None:
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        options = (
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
            f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank",
        )  # fmt: skip
        # Chromium reads commands from descriptor 3 and writes to 4; a shell puts the pipes there.
        command = f"exec {shlex.join([program, *options])} 3<&{to_browser} 4>&{from_browser}"
        self._process = subprocess.Popen(
            ["bash", "-c", command],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._read, selectors.EVENT_READ)
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.events: list[tuple[str, dict[str, Any]]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        """Ends the browser."""
        self._session = None
        try:
            self.call("Browser.close")
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
            self._selector.close()
            os.close(self._read)
            os.close(self._write)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Calls a method of the protocol and waits for its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return dict(answer["result"])

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._buffer:
            assert self._selector.select(end - time.monotonic()), "the browser says nothing"
            piece = os.read(self._read, 1 << 20)
            assert piece, "the browser has ended"
            self._buffer += piece
        line, self._buffer = self._buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        if "method" in message:
            self.events.append((message["method"], message["params"]))
        return message

    def open(self, url: str) -> None:
        """Opens an address and waits until the page is loaded."""
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not any(method == "Page.loadEventFired" for method, _ in self.events):
            self._next()

    def value(self, expression: str) -> Any:
        """What a JavaScript expression, or the promise that it is, gives."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def middle(self, selector: str) -> tuple[float, float]:
        """Scrolls to the first element that fits, and says where its middle is."""
        chosen = f"document.querySelector({json.dumps(selector)})"
        self.value(f"{chosen}.scrollIntoView({{block: 'center', inline: 'center', behavior: 'instant'}})")
        box = self.value(
            f"(() => {{ const b = {chosen}.getBoundingClientRect(); return [b.x, b.y, b.width, b.height] }})()"
        )
        return box[0] + box[2] / 2, box[1] + box[3] / 2

    def settle(self) -> None:
        """Waits until the page has been drawn, when what listens to a change of media has been told."""
        self.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))")

    def hover(self, selector: str) -> None:
        """Moves the mouse onto an element."""
        x, y = self.middle(selector)
        self.settle()
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x - 60, y=y - 40)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, selector: str) -> None:
        """Clicks on an element."""
        x, y = self.middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str, code: int, text: str = "") -> None:
        """Presses a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code,
                      text=text if kind == "keyDown" else "")  # fmt: skip

    def complaints(self) -> list[dict[str, Any]]:
        """Errors of the page, lines on its console, and what the browser or the content security policy refused."""
        kinds = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [parameters for method, parameters in self.events if method in kinds]

    def requests(self) -> list[str]:
        """The addresses that were asked for since a page was opened."""
        return [said["request"]["url"] for method, said in self.events if method == "Network.requestWillBeSent"]


@contextmanager
def browser_of(program: str, profile: Path) -> Iterator[Browser]:
    """A browser for as long as the block lasts."""
    browser = Browser(program, profile)
    try:
        yield browser
    finally:
        browser.close()
