"""`python -m trouter` is the command `trouter`."""
import sys

from trouter.app.cli import main

sys.exit(main())
