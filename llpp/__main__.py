"""`python -m llpp` is `llpp`."""

from llpp.cli.main import main

if __name__ == "__main__":
    main()
