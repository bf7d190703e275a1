"""`python -m octavo.app` is the `octavo` command."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
