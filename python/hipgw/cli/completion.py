"""`hipgw completion`: the script by which a shell completes commands, options and peers."""

import click
from click.shell_completion import get_completion_class

_WHERE = {
    "bash": 'eval "$(hipgw completion bash)"       # in ~/.bashrc',
    "zsh": 'eval "$(hipgw completion zsh)"        # in ~/.zshrc',
    "fish": "hipgw completion fish | source       # in ~/.config/fish/config.fish",
}


@click.command(
    epilog="\b\n" + "\n".join(_WHERE.values()),
)
@click.argument("shell", type=click.Choice(tuple(_WHERE)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion for {shell}")
    root = ctx.find_root().command
    click.echo(kind(root, {}, "hipgw", "_HIPGW_COMPLETE").source())
