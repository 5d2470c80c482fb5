"""``python -m tools.reference``: write the pages anew."""

import os

import django


def main() -> None:
    """Write every page that is not as the code says."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    # What reads the models can be imported from here on only.
    from tools.reference.pages import PAGES  # noqa: PLC0415

    for path, text in PAGES.items():
        written = text()
        if not path.exists() or path.read_text() != written:
            path.write_text(written)
            print(f"{path} is new")


if __name__ == "__main__":
    main()
