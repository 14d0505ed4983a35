"""`python -m onnxviz`: the command line."""

from onnxviz.cli import main

if __name__ == "__main__":
    main()
