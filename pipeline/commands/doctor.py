"""The commands about the installation: doctor, encoders and completion."""

import click

from pipeline.console import FaeCommand, Settings, config_options, option

PROGRAM, VARIABLE = "fae-pipe", "_FAE_PIPE_COMPLETE"


@click.command("doctor", cls=FaeCommand)
@option("What", "--full", is_flag=True, help="Ask torch, too, which takes some seconds: its threads, bf16 and GPUs.")
@config_options(recipe="none")
def doctor_command(settings: Settings, full: bool) -> int:
    """Say what this machine has: versions, processor, GPU, disk, hub, encoders at hand, shadowed packages.

    Nothing is downloaded or written, and without --full no large library is loaded. Exit code 1 when something is not
    as it should be; each such line says what to do.
    """
    from pipeline.inspection import examine

    findings = examine(settings.root, full)
    settings.output.table([finding.as_cells() for finding in findings])
    settings.output.result({"findings": [vars(finding) for finding in findings]})
    return 0 if all(finding.good for finding in findings) else 1


HELP = """Print the script that completes commands and options in a shell.

\b
bash  eval "$(fae-pipe completion bash)"   in ~/.bashrc
zsh   eval "$(fae-pipe completion zsh)"    in ~/.zshrc
fish  fae-pipe completion fish > ~/.config/fish/completions/fae-pipe.fish
"""


@click.command("completion", cls=FaeCommand, help=HELP)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), metavar="bash|zsh|fish")
@click.pass_context
def completion_command(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(context.find_root().command, {}, PROGRAM, VARIABLE).source())


@click.command("encoders", cls=FaeCommand)
@config_options(recipe="none", root=False)
def encoders_command(settings: Settings) -> None:
    """List the frozen encoders that have a name: channels, grid, licence, and where their weights are.

    Any timm ViT works by its timm name, and a network of your own as module:function. Nothing is fetched.
    """
    from dataclasses import asdict

    from fae.encoders import named_encoders

    found = named_encoders()
    rows = [
        {
            "encoder": one.name,
            "kind": one.kind,
            "channels": one.channels,
            "grid": f"{one.grid[0]}×{one.grid[1]}" if one.grid else "-",
            "weights": "here" if one.at_hand else "missing",
            "from": f"package {one.source}" if one.offline else f"hub {one.source}",
            "offline": "yes" if one.offline else "once fetched",
            "license": one.license,
        }
        for one in found
    ]
    settings.output.table(rows)
    settings.output.result({"encoders": [asdict(one) for one in found]})
