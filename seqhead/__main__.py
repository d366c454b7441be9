"""``python -m seqhead``: the same program as the console script ``seqhead``."""

from cli.seqhead import main

if __name__ == "__main__":
    main()
