"""Verbs on mechanisms and scores that are not ours: audit-mechanism, estimate."""

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from typing import Any

import typer

from ...accountant.errors import AuditError, ClaimError, ConfigError, DesignError
from .event_file import read_event
from .output import Json, Quiet, Terminal, print_json

Adjacency = typer.Option(..., help="add-remove, replace-one or zero-out.")
Unit = typer.Option("example", help="example, user or client.")
Epsilon = typer.Option(None, help="Claimed epsilon; with --delta.")
Delta = typer.Option(None, help="Claimed delta, or where epsilon is printed.")
Mu = typer.Option(None, help="Claimed mu of Gaussian DP.")
Rho = typer.Option(None, help="Claimed rho of zCDP.")
Confidence = typer.Option(0.95, help="Of the verdict.")
Seed = typer.Option(0, help="Root of everything random.")


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command("audit-mechanism")(audit_mechanism)
    app.command()(estimate)


def audit_mechanism(
    target: str = typer.Argument(
        ..., metavar="MODULE:OBJECT", help="A function sample(world, n, seed) in a module or file."
    ),
    adjacency: str = Adjacency,
    unit: str = Unit,
    epsilon: float | None = Epsilon,
    delta: float | None = Delta,
    mu: float | None = Mu,
    rho: float | None = Rho,
    event: Path | None = typer.Option(None, help="JSON file of the event that it is meant to be."),
    trials: int = typer.Option(10_000, help="Outputs in each world; half of them teach."),
    confidence: float = Confidence,
    seed: int = Seed,
    sequential: bool = typer.Option(False, help="Stop as soon as the claim is refuted."),
    full: bool = typer.Option(False, "--full", help="Ten times the effort in learning."),
    floating_point: str = typer.Option(
        "report", help="What the lowest bits alone show: report, refute or ignore."
    ),
    power: float = typer.Option(3.0, help="Multiple of the claim that must be refutable."),
    out: Path | None = typer.Option(None, help="Folder for record.json and report.html."),
    as_json: bool = Json,
    quiet: bool = Quiet,
) -> None:
    """Try to refute a claim about any mechanism, known only by its outputs in two worlds.

    MODULE:OBJECT is a function sample(world, n, seed) that gives n independent outputs on a data
    set (world 0) or its neighbour (world 1). Your code is run; nothing else is.

    The exit code is that of the verdict: 3 refuted, 4 inconclusive, 0 consistent.
    """
    from ..blackbox import audit_mechanism as audit

    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is not empty; nothing in it was touched. Name a new folder")
    sample, given = _found(target), None if event is None else read_event(event)
    claim = _claim(adjacency, unit, epsilon, delta, mu, rho, given)
    terminal = Terminal(quiet=quiet)
    try:
        record = audit(
            sample,
            claim,
            trials=trials,
            confidence=confidence,
            seed=seed,
            event=given,
            power=power,
            budget="full" if full else "fast",
            floating_point=floating_point,  # type: ignore[arg-type]  # checked there
            sequential=sequential,
            name=target.rpartition(":")[2],
            progress=terminal.bar("outputs"),
        )
    except AuditError:
        raise
    except Exception as error:
        raise DesignError(f"{target} failed: {_last_line(error)}") from error
    _show(record, out, as_json)


def estimate(
    file: Path = typer.Argument(..., help="CSV, Parquet or npz with columns score and member."),
    adjacency: str = Adjacency,
    unit: str = Unit,
    epsilon: float | None = Epsilon,
    delta: float | None = Delta,
    mu: float | None = Mu,
    rho: float | None = Rho,
    event: Path | None = typer.Option(None, help="JSON file of the event that is claimed."),
    design: str = typer.Option(
        "many_runs",
        help="many_runs: a run of its own for each row; one_run: all rows from one training; "
        "per_round, sequential: rows in order.",
    ),
    method: str | None = typer.Option(None, help="An estimator, instead of the design's own."),
    threshold: float | None = typer.Option(
        None, help="Fixed before the scores were seen; some methods need one."
    ),
    confidence: float = Confidence,
    seed: int | None = typer.Option(
        None, help="Of random halving and of breaking ties; by default a fresh one breaks ties."
    ),
    as_json: bool = Json,
) -> None:
    """A valid lower bound from scores that you already have; with a claim, also a verdict.

    Columns: score (larger means more likely a member), member (0 or 1), optionally group and run.
    Groups are tested one by one and share the allowed error; so are runs that hold several rows.

    Exit code: 0 without a claim, else 3 if it is refuted and 4 if not.
    """
    from ..estimators.bayesian import CredibleInterval
    from ..score_files import estimate_table, read_scores

    given = None if event is None else read_event(event)
    claimed = any(x is not None for x in (epsilon, mu, rho, given))
    if claimed:
        claim = _claim(adjacency, unit, epsilon, delta, mu, rho, given)
    else:  # nothing to refute: a point that no mechanism exceeds stands in
        claim = _claim(adjacency, unit, 1e6, 1e-5 if delta is None else delta, None, None, None)
    found = estimate_table(
        read_scores(file),
        claim,
        design=design,
        method=method,
        confidence=confidence,
        seed=seed,
        delta=delta,
        threshold=threshold,
    )
    bounds = [row.bound for row in found]
    if claimed and any(isinstance(bound, CredibleInterval) for bound in bounds):
        raise DesignError("a Bayesian interval refutes nothing: leave out the claim, or --method")
    refuted = claimed and any(b.refutes(claim) for b in bounds if hasattr(b, "refutes"))
    word = ("REFUTED" if refuted else "INCONCLUSIVE") if claimed else None
    if as_json:
        rows = [{"group": row.group, "run": row.run, "bound": row.bound} for row in found]
        print_json({"claim": claim.text() if claimed else None, "verdict": word, "bounds": rows})
    else:
        for row in found:
            typer.echo(row.text())
        if word is not None:
            typer.echo(f"claim    {claim.text()}\nverdict  {word}")
    raise typer.Exit({None: 0, "REFUTED": 3, "INCONCLUSIVE": 4}[word])


def _claim(
    adjacency: str,
    unit: str,
    epsilon: float | None,
    delta: float | None,
    mu: float | None,
    rho: float | None,
    event: Any,
) -> Any:
    from ...accountant.claim import as_claim

    fields = {"epsilon": epsilon, "delta": delta, "mu": mu, "rho": rho}
    given = {name: value for name, value in fields.items() if value is not None}
    if not {"epsilon", "mu", "rho"} & set(given):
        if event is None:
            raise ClaimError("give a claim: --epsilon with --delta, --mu, --rho, or --event FILE")
        given["event"] = event
    return as_claim({**given, "adjacency": adjacency, "unit": unit})


def _found(target: str) -> Any:
    """The object named by module:object, or by path/to/file.py:object."""
    module, colon, name = target.rpartition(":")
    if not colon or not module or not name:
        raise ConfigError(f"name the sampler as module:object or file.py:object, not {target!r}")
    sys.path.insert(0, "")  # as `python -m` does: modules beside the user
    try:
        if module.endswith(".py"):
            path = Path(module).resolve()
            if not path.is_file():
                raise ConfigError(f"there is no file {module}")
            sys.path.insert(0, str(path.parent))  # for what it imports itself
            found: Any = _loaded(path)
        else:
            found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except ModuleNotFoundError as error:
        raise ConfigError(f"cannot import {error.name}, wanted for {target}") from None
    except AttributeError:
        raise ConfigError(f"{module} has no {name}") from None
    except AuditError:
        raise
    except Exception as error:
        raise ConfigError(f"importing {module} failed: {_last_line(error)}") from error
    return found


def _loaded(path: Path) -> Any:
    """The module in a file, under a name of its own: json.py must not become json."""
    name = f"privassay_target_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path.name} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _last_line(error: Exception) -> str:
    """The error and the line of the user's code that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    where = next((f for f in reversed(frames) if "privassay" not in Path(f.filename).parts), None)
    at = f" ({Path(where.filename).name}, line {where.lineno}: {where.line})" if where else ""
    return f"{type(error).__name__}: {error}{at}"


def _show(record: Any, out: Path | None, as_json: bool) -> None:
    from ..render.terminal import sheet

    if out is not None:
        from ..record import write
        from ..render.folder import write_report
        from ..sums import write_sums

        out.mkdir(parents=True, exist_ok=True)
        write(record, out / "record.json")
        write_report(record, out)
        write_sums(out)
    if as_json:
        print_json(record)
    else:
        typer.echo("\n".join(sheet(record)))
        if out is not None:
            typer.echo(f"report   {out / 'report.html'}")
    raise typer.Exit(record.verdict.exit_code)
