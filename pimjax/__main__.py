"""`python -m pimjax`."""

from pimjax.cli import main

if __name__ == "__main__":
    main()
