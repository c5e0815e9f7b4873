#!/usr/bin/env python
"""Tollgate's command line: `manage.py help` lists the commands."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_site.settings")
    if sys.argv[1:2] == ["up"]:
        # Before Django: it makes the secrets that the settings ask for, and starts the stores.
        from gateway_site.node.up import main as up

        sys.exit(up(sys.argv[2:]))
    # Commands given by hand find the embedded stores and the secrets that `up` keeps.
    from gateway_site.node.state import adopt_environment

    adopt_environment()
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
