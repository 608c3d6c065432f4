import sys

from poireau.cli import main

sys.exit(main())
