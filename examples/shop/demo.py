"""``make demo``: forty orders, some of which must fail, and a worker that is killed in the middle.

With nothing configured everything is embedded, in a folder that is removed at the end: SQLite, a
queue folder and a real prefork worker. ``DATABASE_URL``, ``SAGAS_BROKER_URL`` and
``SAGAS_DATA_DIR`` switch to the real parts.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import django

from examples.shop.processes import ended_by_signals


FAILED = 1
INTERRUPTED = 130


def main() -> int:
    """Return 0 if every order ended as planned, and books and stock agree."""
    wished = os.environ.get("SAGAS_DATA_DIR")
    folder = Path(wished or tempfile.mkdtemp(prefix="sagas-demo-"))
    status = FAILED
    try:
        with ended_by_signals():
            status = _run(folder)
    except KeyboardInterrupt:
        print("\nInterrupted.")
        status = INTERRUPTED
    finally:
        if status == FAILED:
            print(f"The logs are kept in {folder}.")
        elif not wished:
            shutil.rmtree(folder, ignore_errors=True)
    return status


def _run(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["SAGAS_DATA_DIR"] = str(folder)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    os.environ.setdefault("SAGAS_BROKER_URL", "filesystem://localhost/")
    # Every transition is logged otherwise, which would drown the show.
    os.environ.setdefault("SAGAS_LOG_LEVEL", "WARNING")
    django.setup()
    # Models can be imported from here on only.
    from examples.shop.show import run_show  # noqa: PLC0415

    return run_show(folder)


if __name__ == "__main__":
    sys.exit(main())
