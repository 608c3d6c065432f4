import sys

try:
    from poireau.cli import main

    sys.exit(main())
except KeyboardInterrupt:  # while it is still being imported
    sys.exit(130)
