"""A headless Chromium of Debian's on a new profile, which may ask nothing of any network.

Owns the flags and what the browser is asked about itself: its console, its requests, pictures.
"""

import base64
import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    # whatever the page asked of a host would fail, and stand in the log
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


@contextmanager
def browser(profile: Path):
    """A driver whose console and network events are kept."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "/usr/bin/chromium"
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = Service(
        shutil.which("chromedriver") or "/usr/bin/chromedriver",
        # no proxy between the driver and its browser
        env={key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")},
    )
    driver = webdriver.Chrome(options=options, service=service)
    try:
        driver.set_script_timeout(60)
        driver.set_page_load_timeout(120)
        yield driver
    finally:
        driver.quit()


def requests(driver) -> list[str]:
    """Every address that the page asked for since the last call."""
    found = []
    for entry in driver.get_log("performance"):
        event = json.loads(entry["message"])["message"]
        if event["method"] == "Network.requestWillBeSent":
            found.append(event["params"]["request"]["url"])
    return found


def complaints(driver) -> list[str]:
    """What stands in the console above a remark."""
    return [each["message"] for each in driver.get_log("browser") if each["level"] != "INFO"]


def resize(driver, width: int, height: int = 900) -> None:
    """The page's own width in pixels, below what a window can be."""
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
    )


def scheme(driver, name: str) -> None:
    """What the system prefers: light or dark."""
    feature = {"name": "prefers-color-scheme", "value": name}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def picture(driver, path: Path) -> bytes:
    """The whole page as PNG."""
    size = driver.execute_script(
        "const e = document.documentElement; return [e.scrollWidth, e.scrollHeight]"
    )
    taken = driver.execute_cdp_cmd(
        "Page.captureScreenshot",
        {
            "captureBeyondViewport": True,
            "clip": {"x": 0, "y": 0, "width": size[0], "height": min(size[1], 12000), "scale": 1},
        },
    )
    data = base64.b64decode(taken["data"])
    path.write_bytes(data)
    return data
