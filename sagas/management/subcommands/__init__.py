"""What ``manage.py saga`` can do: each module adds its subcommands to the parser."""
