"""``python -m featurecache``: the same program as the console scripts."""

from cli.featurecache import main

if __name__ == "__main__":
    main()
