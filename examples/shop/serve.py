"""``make serve``: the shop and the admin in a browser, with a worker. Ctrl-C stops all."""

import argparse
import os
import secrets
import sys
import time

import django

from examples.shop.processes import Child, ended_by_signals, start_web, start_worker


ADMIN = "admin"


def main() -> int:
    """Serve until interrupted; return 1 if a process ended by itself."""
    parser = argparse.ArgumentParser(prog="make serve", description=__doc__)
    parser.add_argument("--address", default=os.environ.get("SAGAS_ADDRESS", "127.0.0.1:8000"))
    address = parser.parse_args().address
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    password = _prepare()
    children: list[Child] = []
    with ended_by_signals():
        try:
            children += _start(address)
            print(f"Shop:   http://{address}/")
            print(f"Admin:  http://{address}/admin/   login {ADMIN}, password {password}")
            print("Ctrl-C stops the web server and the worker.", flush=True)
            return _watch(children)
        except KeyboardInterrupt:
            print("\nStopping: the worker may finish its steps first.", flush=True)
            return 0
        finally:
            for child in children:
                child.stop()


def _prepare() -> str:
    """Bring the database up to date; return the password of the admin, new at each start."""
    # Models can be imported after django.setup() only.
    from django.contrib.auth import get_user_model  # noqa: PLC0415
    from django.core.management import call_command  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    password = os.environ.get("SAGAS_ADMIN_PASSWORD") or secrets.token_urlsafe(9)
    users = get_user_model()._default_manager  # noqa: SLF001 Django's documented name for it
    user, _ = users.update_or_create(
        username=ADMIN, defaults={"is_staff": True, "is_superuser": True}
    )
    user.set_password(password)
    user.save(update_fields=["password"])
    return password


def _start(address: str) -> list[Child]:
    from django.conf import settings  # noqa: PLC0415 as above

    folder = settings.DATA_DIR
    return [start_web(address, folder), start_worker("worker", folder)]


def _watch(children: list[Child]) -> int:
    while all(child.alive for child in children):
        time.sleep(0.3)
    for child in children:
        if not child.alive:
            print(f"A process ended by itself:\n{child.last_words()}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
