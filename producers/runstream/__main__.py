"""`python -m runstream` is the command `runstream`."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    try:
        from runstream_service.cli.main import main

        sys.exit(main())
    except KeyboardInterrupt:  # while modules were loaded
        sys.exit(130)
