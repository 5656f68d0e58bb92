"""``python -m flotilla``: the same program as the ``flotilla`` script."""

from flotilla.cli.main import main

if __name__ == "__main__":
    main()
