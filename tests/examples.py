"""How much the dear tests try: some of it in `make test`, all of it in `make test-all`."""

# Set by conftest.py before a test module is imported: whether tests marked slow run.
thorough = False


def examples(some: int, all_of_them: int) -> int:
    """How many examples hypothesis draws."""
    return all_of_them if thorough else some
