"""`python -m edge_sdk`: the command line where the folder of scripts is not on the path."""

from edge_sdk.cli import run

if __name__ == "__main__":
    run()
