"""Verbs without data: account, calibrate."""

from pathlib import Path
from typing import Any

import typer

from ...accountant.adjacency import Adjacency, Unit
from ...accountant.errors import ConfigError
from .event_file import read_event
from .output import Json, print_json

_Adjacency = typer.Option("add-remove", help="add-remove, replace-one or zero-out.")
_Unit = typer.Option("example", help="example, user or client.")
_OrFile = "; an audit file states its own."


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command()(account)
    app.command()(calibrate)


def account(
    file: Path | None = typer.Argument(None, help="An audit file, or an event as JSON."),
    noise_stddev: list[float] = typer.Option([], help="Noise per group, in order."),
    norm_bound: list[float] = typer.Option([], help="Bound on one record per group, in order."),
    joint_norm_bound: float | None = typer.Option(None, help="Bound over all groups."),
    noise_multiplier: float | None = typer.Option(None, help="Noise over bound, isotropic."),
    rate: float | None = typer.Option(None, help="Poisson sampling rate of each release (1)."),
    rounds: int | None = typer.Option(None, help="Releases in sequence (1)" + _OrFile),
    delta: float | None = typer.Option(None, help="Where epsilon is printed (1e-5)" + _OrFile),
    adjacency: Adjacency | None = typer.Option(None, help="(add-remove)" + _OrFile),
    unit: Unit | None = typer.Option(None, help="(example)" + _OrFile),
    group_size: int = typer.Option(1, help="Records protected together."),
    cross_check: bool = typer.Option(
        False, "--cross-check", help="Both engines of ours, dp-accounting and PRV (seconds)."
    ),
    certify: bool = typer.Option(False, "--certify", help="Prove epsilon in ball arithmetic."),
    explain: bool = typer.Option(False, "--explain", help="State the guarantee in plain words."),
    max_epsilon: float | None = typer.Option(None, help="Exit 3 if epsilon is above this."),
    as_json: bool = Json,
) -> None:
    """Proven bound of an event, an audit file's mechanisms, or noise given by flags."""
    from ...accountant.account import account as account_event
    from ...accountant.account import certified_epsilon
    from ...accountant.event_json import to_dict
    from ...accountant.peers import cross_check as ask_peers
    from ...accountant.statement import statement
    from ..text import at_least, at_most

    flags = (noise_multiplier, noise_stddev, norm_bound, joint_norm_bound)
    asked = {
        "rounds": rounds,
        "rate": rate,
        "delta": delta,
        "adjacency": adjacency,
        "unit": unit,
    }
    events, terms = _events(file, flags, {k: v for k, v in asked.items() if v is not None})
    rows: list[dict[str, Any]] = []
    for name, event in events.items():
        bound = account_event(
            event,
            adjacency=terms.get("adjacency", "add-remove"),
            unit=terms.get("unit", "example"),
            group_size=group_size,
            both_engines=cross_check,
        )
        at = terms.get("delta", 1e-5)
        rows.append(
            {
                "name": name,
                "adjacency": bound.adjacency,
                "unit": bound.unit,
                "group_size": group_size,
                "delta": at,
                **_mu(bound, event),
                "method": bound.method,
                "epsilon": certified_epsilon(event, bound, at) if certify else bound.epsilon(at),
                "epsilon_by_direction": bound.by_direction(at) if 0.0 < at < 1.0 else {},
                "certified": certify,
                "advantage": bound.advantage(),
                "tpr_at_fpr_0.001": bound.tpr(1e-3),
                "event": to_dict(event),
                "statement": statement(bound, delta=at, event=event) if explain else "",
                "peers": ask_peers(bound, at, event) if cross_check else [],
            }
        )
    if as_json:
        print_json([{k: _plain(v) for k, v in row.items()} for row in rows])
    else:
        for row in rows:
            mu, epsilon = row["mu"], row["epsilon"]
            typer.echo(
                f"{row['name']}: epsilon in [{at_least(epsilon.lower, 10)}, "
                f"{at_most(epsilon.upper, 10)}] at delta {row['delta']:g}"
                + ("" if mu is None else f", mu <= {at_most(mu.upper, 10)}")
                + f"; {row['adjacency']}, one {row['unit']}"
                + (f", groups of {group_size}" if group_size > 1 else "")
                + ("; certified in ball arithmetic" if certify else f"; {row['method']}")
            )
            typer.echo(
                f"  best attack: advantage {at_most(row['advantage'].upper)}, "
                f"TPR {at_most(row['tpr_at_fpr_0.001'].upper)} at FPR 0.001"
            )
            if row["statement"]:
                typer.echo(row["statement"])
            for peer in row["peers"]:
                typer.echo(
                    f"  {peer.peer:<30} [{peer.epsilon_lower:.6g}, {peer.epsilon_upper:.6g}]  "
                    f"{peer.note}  ({peer.seconds:.2f} s)"
                )
    if max_epsilon is not None and any(row["epsilon"].upper > max_epsilon for row in rows):
        raise typer.Exit(3)


def calibrate(
    epsilon: float | None = typer.Option(None, help="Target, > 0, nats; with --delta."),
    delta: float | None = typer.Option(None, help="Target, strictly between 0 and 1."),
    mu: float | None = typer.Option(None, help="Target: Gaussian-DP parameter, > 0."),
    advantage: float | None = typer.Option(None, help="Target: TPR - FPR of the best attack."),
    tpr: float | None = typer.Option(None, help="Target: TPR of the best attack, at --fpr."),
    fpr: float | None = typer.Option(None, help="With --tpr."),
    rounds: int = typer.Option(1, help="Releases, composed in sequence."),
    rate: float = typer.Option(1.0, help="Poisson sampling rate of each release."),
    adjacency: Adjacency = _Adjacency,
    unit: Unit = _Unit,
    group_size: int = typer.Option(1, help="Records protected together."),
    as_json: bool = Json,
) -> None:
    """Smallest noise multiplier (noise over clip bound) that meets a target."""
    import dp_accounting.dp_event as dpe

    from ...accountant import check
    from ...accountant.account import account as account_event
    from ...accountant.calibrate import calibrate as solve
    from ..text import at_most

    check.count(rounds=rounds, group_size=group_size)
    check.positive(rate=rate)
    check.probability(rate=rate)

    def event(noise_multiplier: float) -> dpe.DpEvent:
        one: dpe.DpEvent = dpe.GaussianDpEvent(noise_multiplier)
        if rate < 1.0:
            one = dpe.PoissonSampledDpEvent(rate, one)
        return dpe.SelfComposedDpEvent(one, rounds)

    target: dict[str, Any] = {
        "epsilon": epsilon,
        "delta": delta,
        "mu": mu,
        "advantage": advantage,
        "tpr": tpr,
        "fpr": fpr,
    }
    found = solve(event, **target, adjacency=adjacency, unit=unit, group_size=group_size)
    bound = account_event(event(found), adjacency=adjacency, unit=unit, group_size=group_size)
    at = 1e-5 if delta is None else delta
    if as_json:
        named = {name: _plain(value) for name, value in _mu(bound, event(found)).items()}
        result = {"noise_multiplier": found, **named, "delta": at}
        result |= {"epsilon": _plain(bound.epsilon(at)), "rounds": rounds, "rate": rate}
        print_json(result | {"advantage": _plain(bound.advantage())})
        return
    typer.echo(
        f"noise_multiplier {at_most(found, 10)}: epsilon <= "
        f"{at_most(bound.epsilon(at).upper, 10)} at delta {at:g} after {rounds} "
        f"release{'s' if rounds > 1 else ''}"
        + (f", sampling rate {rate:g}" if rate < 1.0 else "")
        + f" ({adjacency}, one {unit}"
        + (f", groups of {group_size})" if group_size > 1 else ")")
    )


def _events(
    file: Path | None, flags: tuple[Any, ...], asked: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """({name: event}, {adjacency, unit and delta as far as they are stated}).

    A flag that would have no effect is refused: an ignored --rounds would print too small a bound.
    """
    import dp_accounting.dp_event as dpe

    from ...accountant import check
    from ...accountant.events import GroupwiseGaussianDpEvent

    noise_multiplier, noise_stddev, norm_bound, joint_norm_bound = flags
    given = noise_multiplier is not None or noise_stddev or norm_bound
    if (file is None) != bool(given) or (file and joint_norm_bound is not None):
        raise ConfigError(
            "give a file, or noise by flags: --noise-multiplier Z, or --noise-stddev S and "
            "--norm-bound C once per group"
        )
    rounds, rate = asked.pop("rounds", None), asked.pop("rate", None)
    if file is not None and file.suffix != ".json":
        own = {"rounds": rounds, "rate": rate}
        ignored = sorted({*asked, *(name for name, value in own.items() if value is not None)})
        if ignored:
            raise ConfigError(
                f"--{', --'.join(ignored)}: {file} states this itself; change it there"
            )
        return _from_audit_file(file)
    if file is not None:
        name, event = file.name, read_event(file)
    elif noise_multiplier is not None:
        if noise_stddev or norm_bound or joint_norm_bound is not None:
            raise ConfigError(
                "--noise-multiplier does not go with --noise-stddev, --norm-bound or "
                "--joint-norm-bound"
            )
        name, event = "flags", dpe.GaussianDpEvent(noise_multiplier)
    else:
        name = "flags"
        event = GroupwiseGaussianDpEvent(noise_stddev, norm_bound, joint_norm_bound)
    if rate is not None:
        check.probability(rate=rate)
        if file is not None and not _is_release(event):
            raise ConfigError(
                f"--rate is the sampling rate of each release, but {file.name} holds several, "
                "which one sample for all of them would leave correlated.\n  Write "
                "PoissonSampledDpEvent around each release in the file, and leave --rate out."
            )
        event = dpe.PoissonSampledDpEvent(rate, event)
    if rounds is not None:
        check.count(rounds=rounds)
        event = dpe.SelfComposedDpEvent(event, rounds)
    return {name: event}, asked


def _mu(bound: Any, event: Any) -> dict[str, Any]:
    """The bound's mu; for what is sampled, an upper end under a name that says what it is.

    No Gaussian curve is near that of sampled releases: the least mu that is proven above it is that
    of the releases without sampling, far above what epsilon suggests.
    """
    if bound.method.split(",")[0] == "gaussian" or not _is_amplified(event):
        return {"mu": bound.mu}
    return {"mu": None, "mu_upper_without_amplification": bound.mu.upper}


def _is_amplified(event: Any) -> bool:
    """Whether some release in the tree is of a random sample, or shuffled."""
    import dp_accounting.dp_event as dpe

    from ...accountant import events
    from ...accountant.rebuild import rebuilt

    found = []

    def look(value: Any) -> Any:
        match value:
            case dpe.PoissonSampledDpEvent():
                found.append(0.0 < value.sampling_probability < 1.0)
            case (
                dpe.SampledWithoutReplacementDpEvent()
                | dpe.SampledWithReplacementDpEvent()
                | events.RandomAllocationDpEvent()
                | events.ShuffledDpEvent()
            ):
                found.append(True)
        return value

    rebuilt(event, look)
    return any(found)


def _is_release(event: Any) -> bool:
    """Whether this is one release: no event inside it is another."""
    from ...accountant.event_json import to_dict

    return not {"event", "events"} & to_dict(event).keys()


def _from_audit_file(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    from ...fl_core.config import load
    from ..declared import declared_events

    audit = load(file)
    claim = audit.claim.claim()
    terms = {"adjacency": claim.adjacency, "unit": claim.unit}
    return declared_events(audit), terms | ({"delta": claim.delta} if claim.delta else {})


def _plain(value: Any) -> Any:
    from ...accountant.jsonio import dump

    return [dump(v) for v in value] if isinstance(value, list) else dump(value)
