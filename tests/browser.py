"""A real headless browser, driven by its DevTools protocol over pipes: what a page says, asks for and shows."""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ALONE = (  # without the requests that a browser makes for itself
    "--headless=new --no-sandbox --disable-gpu --no-first-run --disable-background-networking --mute-audio "
    "--disable-component-update --disable-sync --disable-extensions --disable-dev-shm-usage"
)


def browser() -> str | None:
    """The path of a browser of this machine, or None."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Visit(NamedTuple):
    errors: list[str]  # of scripts and of the console
    requests: list[str]  # addresses outside of the page and its file
    values: list[Any]  # of the given expressions
    screenshot: bytes  # PNG of the whole page


def visit(page: Path, profile: Path, expressions: tuple[str, ...] = (), width: int = 1240) -> Visit:
    """Open a file, wait until it is loaded, evaluate expressions of JavaScript, take a picture."""
    to_browser, from_browser = os.pipe(), os.pipe()
    program = browser()
    assert program is not None
    arguments = [program, *ALONE.split(), "--remote-debugging-pipe", f"--user-data-dir={profile}"]
    # The browser reads commands from file 3 and writes to file 4.
    script = f'exec 3<&{to_browser[0]} 4>&{from_browser[1]}; exec "$@"'
    process = subprocess.Popen(
        ["bash", "-c", script, "bash", *arguments],
        pass_fds=(to_browser[0], from_browser[1]),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_browser[0]), os.close(from_browser[1])
    with os.fdopen(to_browser[1], "wb") as commands, os.fdopen(from_browser[0], "rb") as messages:
        session = _Session(commands, messages)
        try:
            return _visit(session, page, expressions, width)
        finally:
            session.call("Browser.close", on_page=False)
            process.wait(30)


def _visit(session: "_Session", page: Path, expressions: tuple[str, ...], width: int) -> Visit:
    target = session.call("Target.createTarget", on_page=False, url="about:blank")["targetId"]
    attached = session.call("Target.attachToTarget", on_page=False, targetId=target, flatten=True)
    session.id = attached["sessionId"]
    for domain in ("Page", "Runtime", "Log", "Network"):
        session.call(f"{domain}.enable")
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    session.call("Emulation.setDeviceMetricsOverride", **metrics)
    session.call("Page.navigate", url=page.resolve().as_uri())
    session.wait_for("Page.loadEventFired")
    values = [
        session.call("Runtime.evaluate", expression=each, returnByValue=True)["result"].get("value")
        for each in expressions
    ]
    picture = session.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
    errors, requests = [], []
    for event in session.events:
        given = event["params"]
        if event["method"] == "Runtime.exceptionThrown":
            errors.append(given["exceptionDetails"]["text"])
        elif event["method"] == "Log.entryAdded" and given["entry"]["level"] in ("error", "warning"):
            errors.append(given["entry"]["text"])
        elif event["method"] == "Runtime.consoleAPICalled" and given["type"] in ("error", "warning"):
            errors.append(str(given["args"]))
        elif event["method"] == "Network.requestWillBeSent":
            requests.append(given["request"]["url"])
    own = page.resolve().as_uri()
    outside = [url for url in requests if url != own and not url.startswith("data:")]
    return Visit(errors, outside, values, base64.b64decode(picture))


class _Session:
    """Calls, and the events that come between their answers; messages end with a zero byte."""

    def __init__(self, commands: Any, messages: Any):
        self.commands, self.messages = commands, messages
        self.events: list[dict] = []
        self.id: str | None = None
        self._number = 0
        self._rest = b""

    def call(self, method: str, on_page: bool = True, **parameters: Any) -> dict:
        self._number += 1
        request = {"id": self._number, "method": method, "params": parameters}
        self.commands.write(json.dumps(request | ({"sessionId": self.id} if on_page else {})).encode() + b"\0")
        self.commands.flush()
        while True:
            message = self._next()
            if message.get("id") == self._number:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]

    def wait_for(self, method: str) -> None:
        while not any(event["method"] == method for event in self.events):
            self._next()

    def _next(self) -> dict:
        while b"\0" not in self._rest:
            read = self.messages.read1(1 << 16)
            assert read, "the browser has ended"
            self._rest += read
        first, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(first)
        if "method" in message:
            self.events.append(message)
        return message
