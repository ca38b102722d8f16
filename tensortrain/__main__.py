"""`python -m tensortrain` is the command `tensortrain`."""

from tensortrain.cli import main

if __name__ == "__main__":
    main()
