"""The command line: thin commands that parse, call and print. Nothing else in the package prints."""

from pimjax.cli.app import main as main
