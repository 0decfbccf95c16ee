"""`python -m cli` is `cartstream`."""

from cli.main import main

main()
