"""`batcher completion`: the script by which a shell completes commands, options and their values."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, /, shell: str) -> None:
    """Print the script that completes batcher's commands and options in a shell.

    \b
    Examples:
      eval "$(batcher completion bash)"      # in ~/.bashrc
      eval "$(batcher completion zsh)"       # in ~/.zshrc
      batcher completion fish | source      # in ~/.config/fish/config.fish
    """  # noqa: D301 - \b is click's mark for lines that are not to be wrapped
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(ctx.find_root().command, {}, "batcher", "_BATCHER_COMPLETE").source())
