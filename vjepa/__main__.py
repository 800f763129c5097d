"""`python -m vjepa` is the `vjepa` command."""

from vjepa.cli.main import main

if __name__ == "__main__":
    main()
