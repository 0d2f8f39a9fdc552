"""`python -m app.demo`: the demo without the rest of the command line."""

import typer

from app.demo.run import main

typer.run(main)
