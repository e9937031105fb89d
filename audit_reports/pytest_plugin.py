"""A pytest plugin: `assert_private(sample, claim)` fails a test whose mechanism leaks too much.

    def test_my_mechanism(assert_private):
        assert_private(sample, {"mu": 1.0, "adjacency": "add-remove", "unit": "example"})

or, with the claim as a mark,

    @pytest.mark.private(mu=1.0, adjacency="add-remove", unit="example")
    def test_my_mechanism(assert_private):
        assert_private(sample)

The audit is sequential: a badly broken mechanism fails within a few hundred outputs. A correct one
is sampled until the audit could have refuted `power` times the claim; if `max_trials` outputs do
not suffice for that, a `PrivacyPowerWarning` says so, and the test has shown little.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

_MARK = "private"


class PrivacyPowerWarning(UserWarning):
    """The test passed, but could not have found a leak of the size asked for."""


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line(
        "markers",
        "private(**claim): the claim that assert_private tests, as the fields of a PrivacyClaim",
    )


@pytest.fixture
def assert_private(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Assert that a mechanism does not contradict a claim; see the module's docstring."""
    mark = request.node.get_closest_marker(_MARK)
    name = request.node.name

    def check(
        sample: Callable[[int, int, int], Any],
        claim: Any = None,
        *,
        power: float = 3.0,
        confidence: float = 0.999,
        max_trials: int = 50_000,
        seed: int = 0,
        **options: Any,
    ) -> Any:
        """Fail if `claim` is refuted; give the record.

        Args:
            sample: sample(world, n, seed) gives n independent outputs, array[n, ...].
            claim: a `PrivacyClaim` or a dictionary of its fields; the mark's if None.
            power: what multiple of the claim must be refuted with probability 0.9.
            confidence: a correct mechanism fails the test with probability at most 1 - confidence,
                over seeds; with a fixed seed it fails always or never.
            max_trials: outputs in each world at most.
            seed: of everything random.
            options: further arguments of `privassay.audit_mechanism`.
        """
        given = _claim(claim, mark)
        from ..accountant.claim import as_claim
        from .blackbox import audit_mechanism

        asked = as_claim(given)
        trials, enough = trials_for(asked, power, confidence, max_trials)
        record = audit_mechanism(
            sample,
            asked,
            trials=trials,
            confidence=confidence,
            seed=seed,
            power=power,
            sequential=True,
            name=name,
            **options,
        )
        if record.verdict.word in ("REFUTED", "UNSUPPORTED"):
            from .render.terminal import sheet

            pytest.fail("\n".join(sheet(record)), pytrace=False)
        if not enough:
            able = record.mechanisms[0].attacks[0].power
            warnings.warn(
                PrivacyPowerWarning(
                    f"{trials} outputs in each world cannot refute {power:g} times the claim "
                    f"{asked.text()} with probability 0.9 (from mu {able.mu:.3g} on they can): "
                    "give max_trials= or a larger power="
                ),
                stacklevel=2,
            )
        return record

    yield check


def trials_for(claim: Any, power: float, confidence: float, max_trials: int) -> tuple[int, bool]:
    """Outputs in each world that refute `power` times the claim, and whether the most suffice.

    Twice what a perfect attack needs, since the attack has yet to be learnt.
    """
    from .blackbox_record import FIRST, most_guesses
    from .estimators.one_run_power import e_process_power

    trials = 4 * FIRST
    while trials < max_trials:
        found = e_process_power(most_guesses(trials), claim, confidence=confidence)
        if found.multiple is not None and found.multiple <= power:
            return min(2 * trials, max_trials), True
        trials *= 2
    found = e_process_power(most_guesses(max_trials), claim, confidence=confidence)
    return max_trials, found.multiple is not None and found.multiple <= power


def _claim(claim: Any, mark: pytest.Mark | None) -> Any:
    if claim is not None:
        return claim
    if mark is None:
        raise TypeError(
            "assert_private needs a claim: pass one, or mark the test with "
            "@pytest.mark.private(mu=..., adjacency=..., unit=...)"
        )
    if mark.args and isinstance(mark.args[0], Mapping):
        return {**mark.args[0], **mark.kwargs}
    return mark.kwargs
