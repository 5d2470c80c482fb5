"""``make serve``: the whole shop in one command, gone with Ctrl-C."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode

import psutil
import pytest

from benchmarks.plant.servers.process import free_port
from benchmarks.plant.worker_process import CHECKOUT


pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

PATIENCE_SECONDS = 100


def _heed_ctrl_c() -> None:
    """Undo what a shell does to a command in the background, as these tests may be."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Served:
    """A running ``make serve`` and a browser of sorts."""

    def __init__(self, folder: Path) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        configured = ("DATABASE_URL", "SAGAS_BROKER_URL")
        environment = {name: value for name, value in os.environ.items() if name not in configured}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "examples.shop.serve", "--address", self.address],
            cwd=CHECKOUT,
            env={**environment, "SAGAS_DATA_DIR": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=_heed_ctrl_c,  # noqa: PLW1509 it does nothing but that
        )
        self._browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())

    def get(self, path: str) -> str:
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with self._browser.open(f"http://{self.address}{path}", timeout=60) as answer:
                    return str(answer.read().decode())
            except URLError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def post(self, path: str, fields: dict[str, str]) -> str:
        """Send a form; return the path that it leads to."""
        data = urlencode(fields).encode()
        with self._browser.open(f"http://{self.address}{path}", data, timeout=60) as answer:
            return str(answer.url.removeprefix(f"http://{self.address}"))

    def stop(self) -> str:
        """Press Ctrl-C; return what was printed."""
        self.process.send_signal(signal.SIGINT)
        return self.process.communicate(timeout=60)[0]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    yield served
    if served.process.poll() is None:
        served.stop()


@pytest.fixture
def taken_address() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def hidden(page: str, name: str) -> str:
    found = re.search(f'name="{name}" value="([^"]+)"', page)
    assert found, page
    return found[1]


def test_an_order_placed_in_a_browser_is_fulfilled_by_the_worker(served: Served) -> None:
    form = served.get("/")
    fields = {"customer": "Ada", "sku": "LAMP", "quantity": "2", "country": "JP"}
    for name in ("csrfmiddlewaretoken", "form_key"):
        fields[name] = hidden(form, name)
    order = served.post("/", fields)

    until = time.monotonic() + PATIENCE_SECONDS
    while (status := json.loads(served.get(f"{order}status.json")))["active"]:
        assert time.monotonic() < until, status["explanation"]
        time.sleep(0.2)
    assert status["outcome"] == "completed"

    children = psutil.Process(served.process.pid).children(recursive=True)
    printed = served.stop()
    assert f"http://{served.address}/admin/   login admin, password " in printed
    assert served.process.returncode == 0
    assert len(children) >= 4
    assert psutil.wait_procs(children, timeout=60)[1] == []


def test_a_taken_address_is_said_and_ends_it(tmp_path: Path, taken_address: str) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "examples.shop.serve", "--address", taken_address],
        cwd=CHECKOUT,
        env={
            **os.environ,
            "DATABASE_URL": "",
            "SAGAS_BROKER_URL": "",
            "SAGAS_DATA_DIR": str(tmp_path / "second"),
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert second.returncode == 1
    assert "That port is already in use" in second.stderr
