"""From an audit file to the mechanisms that it declares, and what they cost. No data needed."""

import dp_accounting.dp_event as dpe

from ..accountant.claim import PrivacyClaim
from ..accountant.errors import ConfigError
from ..accountant.gaussian import mu_interval
from ..fl_core.config import AuditFile, MechanismSection
from ..fl_core.task import group_sizes
from ..mechanisms import catalog
from ..mechanisms.base import Mechanism
from ..mechanisms.broken import NoiseHalved
from ..mechanisms.prototypes import NoisyPrototypes, PrototypeDesign


def design(
    audit: AuditFile,
    section: MechanismSection,
    sizes: tuple[int, ...],
    public_norms: tuple[float, ...],
) -> PrototypeDesign:
    """The public parameters of one mechanism, at the claimed budget.

    Args:
        audit: the audit file.
        section: of the mechanism.
        sizes: dimensions of each group.
        public_norms: typical norm of each group on public images; decides the group clip bounds
            where the section does not.

    Raises:
        ConfigError: no Gaussian noise can satisfy the claim.
    """
    claim, release = audit.claim.claim(), audit.release
    total = sum(norm**2 for norm in public_norms) ** 0.5
    shares = section.group_norm_share or [norm / total for norm in public_norms]
    return PrototypeDesign(
        mu=_budget(claim),
        rounds=release.rounds,
        adjacency=claim.adjacency,
        clip_norm=release.clip_norm,
        group_sizes=sizes,
        group_norms=tuple(release.clip_norm * share for share in shares),
        public_count=release.public_count,
        noise_ratio=4.0 if section.noise_ratio is None else section.noise_ratio,
    )


def build(
    audit: AuditFile,
    section: MechanismSection,
    sizes: tuple[int, ...],
    public_norms: tuple[float, ...],
) -> Mechanism:
    """The mechanism of a section: with its declared noise, or calibrated to the claim.

    Raises:
        ConfigError: as `design`; or noise is declared for a mechanism that does not take it.
    """
    mechanism = catalog.build(section.kind, design(audit, section, sizes, public_norms))
    if section.noise_stddevs is None:
        return mechanism
    if not isinstance(mechanism, NoisyPrototypes | NoiseHalved):
        raise ConfigError(f"mechanism {section.name!r}: its kind takes no noise_stddevs")
    if len(section.noise_stddevs) != len(mechanism.group_sizes):
        raise ConfigError(
            f"mechanism {section.name!r}: noise_stddevs has {len(section.noise_stddevs)} numbers, "
            f"but {section.kind!r} has {len(mechanism.group_sizes)} groups of dimensions"
        )
    return mechanism.with_noise(tuple(section.noise_stddevs))


def declared_events(audit: AuditFile) -> dict[str, dpe.DpEvent]:
    """{mechanism: cost of all rounds for one record}; classes and clients compose in parallel.

    Raises:
        ConfigError: a clip bound is left to the public images, which only a run looks at.
    """
    events = {}
    for section in audit.mechanism:
        if section.kind in catalog.BY_GROUP and section.group_norm_share is None:
            raise ConfigError(
                f"mechanism {section.name!r} takes its group_norm_share from public images, which "
                "accounting does not look at.\n  Write group_norm_share into the audit file, or "
                "use `privassay run`."
            )
        event = build(audit, section, group_sizes(audit), (1.0, 1.0)).event()
        rounds = audit.release.rounds
        events[section.name] = event if rounds == 1 else dpe.SelfComposedDpEvent(event, rounds)
    return events


def _budget(claim: PrivacyClaim) -> float:
    """The largest mu that the claim allows.

    Raises:
        ConfigError: no Gaussian release can satisfy the claim.
    """
    if claim.is_curve:
        return claim.gaussian_mu().lower
    if not claim.delta or claim.epsilon is None:
        raise ConfigError(
            f"claim.delta = {claim.delta}: Gaussian noise never gives pure differential privacy.\n"
            "  Give a delta > 0."
        )
    return mu_interval(claim.epsilon, claim.delta)[0]
