"""DP-FedLoRA as it is released and in its sound form: what leaves, what it costs, what is left."""

import math

import pytest
import torch

from privassay.accountant.account import account
from privassay.accountant.errors import ConfigError, LedgerError, UnsupportedEventError
from privassay.accountant.ledger import Ledger
from privassay.fl_core.algorithms.fed_lora import FedLora
from privassay.fl_core.algorithms.fed_lora_checks import accuracy, norm_law
from privassay.fl_core.algorithms.fed_lora_clients import Descent, Idle
from privassay.fl_core.algorithms.fed_lora_factors import factor_of, folded_name, pair
from privassay.fl_core.algorithms.fed_lora_systems import as_released, sound
from privassay.fl_core.algorithms.fedavg import plain_sgd
from privassay.fl_core.algorithms.scaffold import Scaffold
from privassay.fl_core.algorithms.server_optimizers import Adaptive, Mean
from privassay.fl_core.cohort import Poisson, Scheduled
from privassay.fl_core.federation import Federation, layout, run
from privassay.fl_core.kernels.base import unflatten
from privassay.fl_core.optimizers import AdamW
from privassay.fl_core.protection import PerUpload, Unprotected
from privassay.fl_core.recorder import Recorder, Recording
from privassay.mechanisms import lora_aggregate
from privassay.mechanisms.base import SeededKey, SystemKey
from privassay.mechanisms.lora import JointDeltaUpload
from privassay.mechanisms.released.dp_fedlora import AsReleasedDpFedLora

CLIENTS, KEY, ONE = 5, SeededKey(3), torch.tensor([0])
LOCAL = {"epochs": 2, "batch_size": 8}


def pairs_of_two(round_):
    """A public schedule: two of five clients."""
    return ((2 * round_) % CLIENTS, (2 * round_ + 1) % CLIENTS)


def released(kernel, **more):
    settings = {"make": plain_sgd(0.1), "cohort": 2, "clients": CLIENTS}
    return as_released(kernel, **(settings | LOCAL | more))


def good(kernel, **more):
    settings = {
        "make": plain_sgd(0.1),
        "clip_norm": 1.0,
        "noise_multiplier": 1.0,
        "cohort": CLIENTS,
        "clients": CLIENTS,
    }
    return sound(kernel, **(settings | LOCAL | more))


def go(system, data, *, adjacency="zero-out", rounds=3, recorder=None, **more):
    ledger = Ledger(adjacency=adjacency, unit="client")
    federation = Federation(
        algorithm=system.algorithm, protection=system.protection, data=data, rounds=rounds,
        **({"key": KEY} | more),
    )  # fmt: skip
    return run(federation, ledger, recorder=recorder), ledger


def test_what_leaves_as_released_is_each_tensor_clipped_alone_with_the_classical_noise(
    kernel, data, tmp_path
):
    system = released(kernel, cohort=CLIENTS)
    shapes = layout(
        Federation(
            algorithm=system.algorithm, protection=system.protection, data=data, rounds=2, key=KEY
        ),
        raw=True,
    )
    go(system, data, rounds=2, recorder=Recorder(tmp_path / "t", shapes))
    seen = Recording.load(tmp_path / "t").view("server", oracle=True)
    raw, sent = (torch.from_numpy(seen[n].copy()).flatten(0, 1) for n in ("raw", "uploads"))
    sigma = AsReleasedDpFedLora().sigma
    assert sigma == pytest.approx(0.01938, abs=1e-5)
    values, left = (unflatten(part, system.algorithm.sent) for part in (raw, sent))
    residuals = []
    for name, value in values.items():
        norm = value.flatten(1).norm(dim=1).clamp(min=1e-30)
        clipped = value * (0.1 / norm).clamp(max=1.0).view(-1, 1, 1)
        if factor_of(name) == "A":  # weights, not changes: those of the first round are cut to 0.1
            assert (norm[:CLIENTS] > 0.9).all() and (norm[CLIENTS:] < 0.3).all()
        residuals.append((left[name] - clipped).flatten())
    noise = torch.cat(residuals)
    assert float(noise.std()) == pytest.approx(sigma, rel=0.05)
    assert float(noise.mean()) == pytest.approx(0.0, abs=4 * sigma / math.sqrt(len(noise)))


def test_the_norm_law_flags_the_released_adapter_and_no_other(wide, data):
    schedule = Scheduled(pairs_of_two)
    half = (0.5, 0.5)
    sigma = AsReleasedDpFedLora().sigma
    outcome, _ = go(released(wide), data, rounds=12, cohort=schedule)
    laws = norm_law(outcome.state, stddev=sigma, weights=half)
    assert len(laws) == 2
    # The clipped weights add 0.1 at most.
    for law in laws:
        assert law.lower <= law.measured <= math.hypot(law.upper, 0.1)
        assert law.mostly_noise and law.noise_share > 0.9, law
    noise_only, _ = go(released(wide, training=False), data, rounds=12, cohort=schedule)
    for law, control in zip(
        laws, norm_law(noise_only.state, stddev=sigma, weights=half), strict=True
    ):
        assert control.mostly_noise
        assert law.measured == pytest.approx(control.measured, rel=0.05)
    # Without noise, and with noise that the update outweighs, nothing is flagged.
    plain, _ = go(
        released(wide, system=AsReleasedDpFedLora(use_dp=False)), data, rounds=12,
        cohort=schedule,
    )  # fmt: skip
    assert not any(law.mostly_noise for law in norm_law(plain.state, stddev=0.0, weights=half))
    quiet, _ = go(good(wide, noise_multiplier=0.01, aggregation="ffa"), data, rounds=12)
    trained = tuple(n for n in quiet.state if factor_of(n) == "B" and n in wide.shapes())
    laws = norm_law(quiet.state, stddev=0.01, weights=(1 / CLIENTS,) * 12, names=trained)
    assert not any(law.mostly_noise for law in laws), laws


def test_noise_alone_obeys_the_law_and_a_signal_does_not():
    generator = torch.Generator().manual_seed(0)
    outside = 0
    for _ in range(300):
        noise = 0.3 * torch.randn(2, 8, 40, generator=generator, dtype=torch.float64)
        adapter = {"x.lora_A.weight": noise.mean(dim=0)}
        (law,) = norm_law(adapter, stddev=0.3, weights=(0.5, 0.5), risk=0.05)
        outside += not law.like_noise
        assert law.mostly_noise
    assert outside <= 28, outside  # binomial(300, 0.05), 99.9 % point
    (law,) = norm_law({"x.lora_A.weight": noise[0] + 1.0}, stddev=0.3, weights=(1.0,))
    assert not law.like_noise and not law.mostly_noise


def test_an_adapter_that_was_never_noised_is_not_flagged(wide):
    start = released(wide).algorithm.start(ONE, KEY)  # A is larger than the noise, B is zero
    laws = norm_law(start, stddev=AsReleasedDpFedLora().sigma, weights=(0.5, 0.5))
    assert not any(law.mostly_noise or law.like_noise for law in laws)


def test_the_released_adapter_is_no_better_than_the_base_model(kernel, data):
    schedule = Scheduled(pairs_of_two)
    scores = {}
    for name, system, rounds in (
        ("base", released(kernel), 0),
        ("released", released(kernel), 12),
        ("noise only", released(kernel, training=False), 12),
        ("no noise", released(kernel, system=AsReleasedDpFedLora(use_dp=False)), 12),
    ):
        if rounds:
            state = go(system, data, rounds=rounds, cohort=schedule)[0].state
        else:
            state = system.algorithm.start(ONE, KEY)
        scores[name] = accuracy(*system.algorithm.model(state), data.x, data.y)
    assert scores["no noise"] > 0.8, scores
    assert scores["noise only"] < 0.7, scores


def test_uploads_are_accounted_one_by_one_and_the_quoted_number_is_far_off(kernel, data):
    _, ledger = go(
        released(kernel), data, adjacency="replace-one", rounds=5, cohort=Scheduled(pairs_of_two)
    )
    bound = account(ledger.event(), adjacency="replace-one")
    tensors = len(kernel.shapes())
    sigma = AsReleasedDpFedLora().sigma
    # 2 uploads of each client, each tensor by itself, moving by up to 2C.
    assert bound.mu.upper == pytest.approx(0.2 / sigma * math.sqrt(2 * tensors), rel=1e-9)
    assert bound.epsilon(1e-5).lower > 300.0 > 25.0
    with pytest.raises((UnsupportedEventError, LedgerError)):
        go(released(kernel, cohort=CLIENTS), data, adjacency="add-remove", rounds=1)
    one = released(kernel, unit="example")
    one = account(one.protection.mechanism.event(), adjacency="zero-out").mu.upper
    assert one == pytest.approx(0.2 / sigma * math.sqrt(tensors), rel=1e-9)


@pytest.mark.parametrize(
    "switch", [{"use_dp": False}, {"reseeded": True}], ids=["switched off", "reseeded"]
)
def test_a_run_whose_noise_is_none_has_no_bound(kernel, data, switch):
    _, ledger = go(
        released(kernel, system=AsReleasedDpFedLora(**switch), cohort=CLIENTS), data, rounds=1
    )
    assert account(ledger.event(), adjacency="zero-out").epsilon(1e-5).upper == math.inf


def test_control_variates_are_accounted_or_refused(kernel, data, tmp_path):
    leak = AsReleasedDpFedLora(scaffold_leak=True)
    for wrong in ({"algorithm": "scaffold"}, {"system": leak}):
        with pytest.raises(ConfigError, match="scaffold_leak=True"):
            released(kernel, **wrong)
    system = released(kernel, algorithm="scaffold", system=leak, cohort=CLIENTS)
    federation = Federation(
        algorithm=system.algorithm, protection=system.protection, data=data, rounds=1, key=KEY
    )
    recorder = Recorder(tmp_path / "t", layout(federation, raw=True))
    _, ledger = go(system, data, rounds=1, recorder=recorder)
    assert account(ledger.event(), adjacency="zero-out").epsilon(1e-5).upper == math.inf
    seen = Recording.load(tmp_path / "t").view("server", oracle=True)
    raw, sent = (torch.from_numpy(seen[n].copy()) for n in ("raw", "uploads"))
    size = raw.shape[-1] // 2
    assert torch.equal(raw[..., size:], sent[..., size:]), "controls leave as they are"
    assert raw[..., size:].any() and not torch.equal(raw[..., :size], sent[..., :size])
    # Sound: one clip over parameters and controls.
    system = good(kernel, algorithm="scaffold", trust="local", noise_multiplier=2.0)
    assert isinstance(system.algorithm.client, Scaffold)
    mechanism = system.protection.mechanism
    _, ledger = go(system, data, rounds=1)
    assert account(ledger.event(), adjacency="zero-out").mu.upper == pytest.approx(0.5)
    rows = 100.0 * torch.ones(2, *system.algorithm.upload_shape)
    assert (mechanism.contribution(rows).double().norm(dim=1) <= 1.0).all()
    assert system.algorithm.upload_shape[0] == 2 * sum(
        math.prod(shape) for shape in system.algorithm.sent.values()
    )


def test_sound_runs_cost_what_the_formula_says(kernel, data):
    system = good(kernel, noise_multiplier=2.0)
    _, ledger = go(system, data, adjacency="add-remove", rounds=4)
    found = account(ledger.event(), adjacency="add-remove")
    assert found.mu.upper == pytest.approx(math.sqrt(4) / 2.0, rel=1e-9)
    sampled = good(kernel, noise_multiplier=2.0, sampling_rate=0.2, cohort=1.0)
    _, ledger = go(sampled, data, adjacency="add-remove", rounds=4, cohort=Poisson(0.2))
    found = account(ledger.event(), adjacency="add-remove").epsilon(1e-5)
    alone = account(sampled.protection.mechanism.event(4), adjacency="add-remove").epsilon(1e-5)
    assert found.upper == pytest.approx(alone.upper, rel=1e-9)
    with pytest.raises(ConfigError, match="Poisson"):
        go(sampled, data, rounds=1)
    local = good(kernel, trust="local", aggregation="stack", ranks=(3, 1, 2, 3, 1))
    _, ledger = go(local, data, rounds=4)
    assert account(ledger.event(), adjacency="zero-out").mu.upper == pytest.approx(2.0)
    assert torch.isfinite(go(local, data, key=SystemKey())[0].state["first.lora_A.weight"]).all()


def test_what_a_sum_hides_cannot_be_multiplied(kernel):
    for aggregation in ("stack", "residual", "svd"):
        with pytest.raises(ConfigError, match="a sum hides them"):
            good(kernel, aggregation=aggregation)
    with pytest.raises(ConfigError, match="nothing is amplified"):
        good(kernel, trust="local", sampling_rate=0.5)
    with pytest.raises(ConfigError, match="plain_sgd"):
        good(kernel, algorithm="scaffold", make=lambda params: AdamW(0.1, params))


def test_a_noisy_sum_of_values_or_of_rows_is_refused(kernel, data):
    """Both use more than the sum: who was heard, or each client's own factors."""
    noise = good(kernel).protection
    for algorithm in (
        released(kernel).algorithm,
        good(kernel, trust="local", aggregation="stack").algorithm,
    ):
        with pytest.raises(ConfigError, match="more than the sum"):
            Federation(algorithm=algorithm, data=data, rounds=1, key=KEY, protection=noise)


def test_a_name_reaches_the_branch_that_it_names(kernel):
    assert released(kernel, algorithm="fedadgrad").algorithm.server == Mean()  # as in the program
    for name in ("fedadam", "fedyogi", "fedadagrad"):
        server = released(kernel, algorithm=name).algorithm.server
        assert server == Adaptive(kind=name.removeprefix("fed"))
        assert good(kernel, algorithm=name).algorithm.server == server
    assert released(kernel, algorithm="fedprox").algorithm.client.proximal == 0.01
    assert isinstance(released(kernel, training=False).algorithm.client, Idle)
    with pytest.raises(ValueError, match="fedadgrad"):
        good(kernel, algorithm="fedadgrad")


def test_a_joint_clip_as_a_switch_bounds_the_whole_change(kernel, data):
    system = released(kernel, system=AsReleasedDpFedLora(clip="joint_delta"))
    assert system.algorithm.sends == "change"
    mechanism = system.protection.mechanism
    quiet = released(
        kernel, system=AsReleasedDpFedLora(clip="joint_delta", epsilon=1e9)
    ).protection.mechanism
    rows = torch.randn(3, *system.algorithm.upload_shape)
    norms = quiet.release(rows, KEY).double().norm(dim=1)
    assert norms.max() <= 0.1 + 1e-6
    sigma = mechanism.system.sigma
    assert account(mechanism.event(), adjacency="zero-out").mu.upper == pytest.approx(0.1 / sigma)


TRIALS, SIDE = 400, ("first", "second")


def measured_noise(kernel, data, aggregation, stddev):
    """Change of each layer that noise makes, float64[trials, out, in]; the factors and weights.

    Every replica is one trial: the same clients without training, with noise of its own. The
    factors begin at numbers that are not zero.
    """
    algorithm = FedLora(
        kernel=kernel, aggregation=aggregation, client=Idle(), divisor=float(CLIENTS)
    )
    protection = PerUpload(
        mechanism=JointDeltaUpload(clip_norm=stddev, noise_multiplier=1.0), release="update"
    )
    generator = torch.Generator().manual_seed(7)
    fixed = {
        name: torch.randn(1, *shape, generator=generator).expand(TRIALS, *shape)
        for name, shape in kernel.shapes().items()
    }
    worlds = data.replicate(TRIALS)

    class Begun(FedLora):
        """From these factors instead of the usual ones."""

        def start(self, replicas, key):
            return super().start(replicas, key) | fixed

    algorithm = Begun(**{n: getattr(algorithm, n) for n in algorithm.__dataclass_fields__})
    federation = Federation(
        algorithm=algorithm, data=worlds, rounds=1, key=KEY, protection=protection
    )
    state = run(federation, Ledger(adjacency="zero-out", unit="client")).state
    found = {}
    for layer in SIDE:
        b, a = pair(layer)
        product = state[b].double() @ state[a].double() - fixed[b].double() @ fixed[a].double()
        if folded_name(layer) in state:
            product = product + state[folded_name(layer)].double() / 2.0
        found[layer] = (product, fixed[b][0].double(), fixed[a][0].double())
    return found


@pytest.mark.parametrize("aggregation", ["average", "ffa", "rolora", "residual"])
def test_noise_on_the_product_has_mean_zero_and_the_predicted_power(kernel, data, aggregation):
    stddev = 0.4
    even = torch.full((CLIENTS,), 1 / CLIENTS, dtype=torch.float64)
    for noise, b, a in measured_noise(kernel, data, aggregation, stddev).values():
        bs, as_ = b.expand(CLIENTS, -1, -1), a.expand(CLIENTS, -1, -1)
        predicted = {
            "average": lora_aggregate.plain_average_noise,
            "residual": lora_aggregate.exact_noise,
        }.get(
            aggregation,
            lambda bs, as_, w, s: lora_aggregate.one_factor_noise(as_[0], bs.shape[1], w, s),
        )(bs, as_, even, stddev)
        powers = noise.square().sum(dim=(1, 2))
        error = float(powers.std()) / math.sqrt(TRIALS)
        assert float(powers.mean()) == pytest.approx(predicted.total, abs=4.0 * error)
        assert error < 0.05 * predicted.total
        # Each entry on its own: together less than 1e-4 that any of them is beyond by chance.
        score = noise.mean(dim=0) / noise.std(dim=0) * math.sqrt(TRIALS)
        assert float(score.abs().max()) < 5.0
        if aggregation in ("average", "residual"):
            assert predicted.quartic > 0.0


def test_exact_aggregation_pays_more_of_the_quartic_noise(kernel, data):
    """By a factor of the number of clients: exact rules multiply noisy factors one by one."""
    stddev = 3.0  # so that noise times noise dominates
    powers = {
        aggregation: float(
            measured_noise(kernel, data, aggregation, stddev)["first"][0]
            .square().sum(dim=(1, 2)).mean()
        )
        for aggregation in ("average", "residual", "ffa")
    }  # fmt: skip
    assert powers["residual"] > 2.0 * powers["average"] > 2.0 * powers["ffa"], powers


def test_training_needs_no_noise_to_be_unprotected(kernel, data):
    """The same algorithm without protection says so in the ledger."""
    algorithm = FedLora(
        kernel=kernel, client=Descent(make=plain_sgd(0.1)), divisor=float(CLIENTS), **LOCAL
    )
    ledger = Ledger(adjacency="zero-out", unit="client")
    run(
        Federation(algorithm=algorithm, data=data, rounds=1, key=KEY, protection=Unprotected()),
        ledger,
    )
    assert account(ledger.event(), adjacency="zero-out").epsilon(1e-5).upper == math.inf
