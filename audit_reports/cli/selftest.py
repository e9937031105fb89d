"""The verb `selftest`: do our own instruments work on this machine?"""

from collections import Counter

import typer

from .output import Json, Quiet, Terminal, print_json


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command()(selftest)


def selftest(
    what: str = typer.Argument("attacks", help='What is tested: "attacks".'),
    only: list[str] = typer.Option([], help="An attack, or a family of them. May be repeated."),
    seed: int = typer.Option(0, min=0, help="Of data, noise and attacks."),
    as_json: bool = Json,
    quiet: bool = Quiet,
) -> None:
    """Controls of every attack: does it work, and does it stay below what is proven?

    It must succeed where nothing protects, be at chance where only noise is seen, and stay below
    the proven ceiling of a correct private run. Exit code 1 if one of them does not: then nothing
    that this attack says may be believed. Exit code 2 if some could not run.
    """
    from ...accountant import check
    from ..selftest.run import Result, controls, run

    check.one_of(("attacks",), selftest=what)
    chosen = controls(only)
    bar = Terminal(quiet=quiet or as_json).bar("controls")
    attack = ""

    def say(result: Result, done: int, total: int) -> None:
        nonlocal attack
        bar(done, total)
        if as_json:
            return
        if (title := f"{result.attack} by the {result.adversary}: {result.setting}") != attack:
            attack = title
            typer.echo(title)
        mark = {"ok": "ok  ", "failed": "FAIL", "not run": "--  "}[result.status]
        typer.echo(f"  {mark} {result.kind:<8} {result.words}")

    results = run(chosen, seed=seed, say=say)
    count = Counter(result.status for result in results)
    if as_json:
        print_json({"results": results, "failed": count["failed"], "not_run": count["not run"]})
    else:
        typer.echo(
            f"{len(results)} controls of {len({r.attack for r in results})} attacks: "
            f"{count['ok']} ok, {count['failed']} failed, {count['not run']} not run; "
            f"{sum(r.seconds for r in results):.0f} s"
        )
    raise typer.Exit(1 if count["failed"] else 2 if count["not run"] else 0)
