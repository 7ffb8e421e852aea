"""`python -m caffepy` is the command `caffepy`."""

from caffepy.tools.cli import main

if __name__ == "__main__":
    main()
