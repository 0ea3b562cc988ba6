"""Completion of the command line by the shells, with argcomplete: `runstream completion`, and the answer to a shell."""

from __future__ import annotations

import argparse

from runstream_schemas.errors import QueryError

from .options import performs


def add_completion(parser: argparse.ArgumentParser) -> None:
    """Add what `runstream completion` takes."""
    performs(
        parser,
        completion,
        'bash: eval "$(runstream completion bash)" in ~/.bashrc; zsh: the same in ~/.zshrc; '
        "fish: runstream completion fish > ~/.config/fish/completions/runstream.fish",
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def completion(options: argparse.Namespace) -> int:
    """`runstream completion SHELL`."""
    try:
        from argcomplete import shellcode  # type: ignore[attr-defined,unused-ignore]
    except ImportError:
        raise QueryError("completion needs argcomplete: pip install argcomplete") from None
    print(shellcode(["runstream"], shell=options.shell))
    return 0


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell and end the process; called when a shell asks, before anything is parsed."""
    try:
        import argcomplete
    except ImportError:
        raise SystemExit(1) from None
    argcomplete.autocomplete(parser)
