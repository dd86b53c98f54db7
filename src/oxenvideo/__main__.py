"""`python -m oxenvideo` is the `oxenvideo` command."""

import sys

from oxenvideo.cli import main

if __name__ == "__main__":
    sys.exit(main())
