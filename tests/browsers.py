"""A real Chromium without a window, for a test to use as somebody does."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.servers import eventually, unavailable

__all__ = ["Browser", "Keys"]

_AXE = Path(__file__).parent / "vendor" / "axe.min.js"

_OPTIONS = (
    "--headless=new",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--hide-scrollbars",
    # Tests may run as root, whom Chromium refuses a sandbox.
    "--no-sandbox",
)

#: Elements are drawn anew while they are looked at, so all is read at once.
_TEXT = "return document.querySelector(arguments[0])?.textContent ?? ''"


class Browser:
    """A browser of one's own, with a profile that nobody had before."""

    def __init__(self) -> None:
        program = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
        driver = shutil.which("chromedriver")
        if program is None or driver is None:
            unavailable("there is no chromium with its chromedriver")
        self._profile = tempfile.TemporaryDirectory(
            prefix="ranch-browser-", ignore_cleanup_errors=True
        )
        options = webdriver.ChromeOptions()
        options.binary_location = program
        for each in (*_OPTIONS, f"--user-data-dir={self._profile.name}"):
            options.add_argument(each)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = Service(driver)
        self.driver = webdriver.Chrome(options=options, service=service)

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.driver.quit()
        self._profile.cleanup()

    def look(self, *, width: int = 1280, height: int = 900, is_dark: bool = False) -> None:
        """Have a window of that size, by day or by night."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme, still]})

    def go(self, address: str) -> None:
        self.driver.get(address)

    def text(self, selector: str = "body") -> str:
        """Return the text of the first element that is so selected; none is empty."""
        return str(self.driver.execute_script(_TEXT, selector))

    def await_text(self, text: str, selector: str = "body", seconds: float = 30) -> None:
        eventually(
            lambda: text in self.text(selector),
            seconds,
            f"{text!r} stands in {selector}: {self.text(selector)[:2000]!r}",
        )

    def find(self, selector: str) -> WebElement:
        """Return the first element that is so selected, as soon as there is one."""
        found = eventually(
            lambda: self.driver.find_elements(By.CSS_SELECTOR, selector), 30, f"there is {selector}"
        )
        return found[0]

    def click(self, text: str, within: str = "main") -> None:
        """Click the first button or link that says so, when it can be clicked."""
        script = (
            "const one = [...document.querySelectorAll(`${arguments[1]} :is(button, a)`)]"
            ".find((each) => each.textContent.trim() === arguments[0] && !each.disabled);"
            "one?.click(); return !!one"
        )
        eventually(
            lambda: self.driver.execute_script(script, text, within), 30, f"{text!r} can be clicked"
        )

    def press(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def focused(self) -> str:
        """Return what the focused element says, or is called."""
        script = (
            "const one = document.activeElement;"
            "return one.getAttribute('aria-label') ?? (one.textContent.trim() || one.name || '')"
        )
        return str(self.driver.execute_script(script))

    def complaints(self) -> list[str]:
        """Return what the browser's console says, and forget it: errors and broken policies."""
        return [f"{each['level']}: {each['message']}" for each in self.driver.get_log("browser")]

    def inaccessible(self) -> list[str]:
        """Return what axe finds that some people could not use, in a line each."""
        if not self.driver.execute_script("return 'axe' in window"):
            self.driver.execute_script(_AXE.read_text(encoding="utf-8"))
        found: Any = self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            "axe.run().then((told) => done(told.violations), (error) => done([{id: String(error),"
            " nodes: []}]))"
        )
        return [f"{each['id']}: {[node['html'][:200] for node in each['nodes']]}" for each in found]

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than its window."""
        script = "const page = document.documentElement; return page.scrollWidth - innerWidth"
        return int(self.driver.execute_script(script))
