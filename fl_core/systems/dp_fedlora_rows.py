"""What the rows of a DP-FedLoRA comparison train, and how they are protected."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Literal

import dp_accounting.dp_event as dpe
from torch import Tensor

from ...accountant.adjacency import Adjacency, Unit
from ...accountant.calibrate import calibrate
from ...mechanisms.base import Key
from ...mechanisms.clipping import Clip
from ...mechanisms.dpsgd import DpSgd
from ...mechanisms.released.dp_fedlora import AsReleasedDpFedLora
from ..algorithms.fed_lora import FedLora
from ..algorithms.fed_lora_clients import Descent, PrivateDescent
from ..algorithms.fed_lora_factors import BY_ROW, Aggregation
from ..algorithms.fed_lora_systems import System, as_released, sound
from ..algorithms.fedavg import plain_sgd
from ..algorithms.personal_model import adam_w
from ..algorithms.server_optimizers import Adaptive, Momentum
from ..clients import ClientData
from ..kernels.adapters import Adapters
from ..kernels.base import Loss, Params, cross_entropy
from ..models.language import LanguageModel
from ..models.language_kernels import next_token_loss
from ..models.language_top import last_layer_classifier
from ..models.language_top_causal import last_layer_causal
from ..optimizers import AdamW
from ..protection import Unprotected
from .base import NO_RECORDS, RowPlan
from .dp_fedlora import DpFedLoraFile
from .dp_fedlora_plan import (
    BASE,
    CENTRAL,
    FEDAVG,
    FEDPROX,
    HEAD,
    INSIDE,
    LEAK,
    LOCAL,
    LOCALLY,
    RELEASED_ALL,
    RELEASED_TWO,
    server_rule,
)
from .dp_fpl_noise import Unnoised

CLASSES = 2
_HALF = 0.5  # of a client's records are expected in a step of DP-SGD
_PRIVATE = "adapters trained with DP-SGD"


@dataclass(frozen=True, kw_only=True)
class Clipped(Unprotected):
    """Updates clipped as under differential privacy, but without noise: nothing is proven."""

    clip_norm: float

    def rows(self, uploads: Tensor, data: ClientData, round: int, key: Key) -> Tensor:
        """Each as one vector."""
        return Clip(joint_norm=self.clip_norm).apply(uploads.flatten(1)).view_as(uploads)


@dataclass(frozen=True, kw_only=True, eq=False)
class Systems:
    """Algorithm and protection of each row.

    Attributes:
        file: of the comparison.
        model: frozen.
    """

    file: DpFedLoraFile
    model: LanguageModel

    def check(self, rows: Iterable[RowPlan]) -> None:
        """Build what the rows train; what is wrong is found before anything is computed.

        Raises:
            ConfigError: a rank or a rule does not fit the model, or no noise meets a budget.
        """
        _ = self.kernel
        for row in rows:
            method = row.name.removesuffix(NO_RECORDS)
            if row.released:
                self.released(row, self.file.system.released_cohort)
            elif method == HEAD and row.asked is not None:
                self.multiplier(row)
            elif method not in (BASE, LOCAL, CENTRAL, HEAD, RELEASED_TWO, RELEASED_ALL):
                self.of(row)

    def of(self, row: RowPlan) -> System:
        """What is trained, and how it is protected, in the rows of our own."""
        method = row.name.removesuffix(NO_RECORDS)
        name = method.removesuffix(LOCALLY)
        if method == INSIDE:
            return self._inside(row)
        if row.name == FEDAVG:
            return System(self.unclipped(), Unprotected())
        algorithm = "fedprox" if row.name == FEDPROX else server_rule(name) or "fedavg"
        rule = _rule(name) if algorithm == "fedavg" else "ffa"
        if row.asked is None:
            return self.noise_free(rule, algorithm=algorithm)
        return self._sound(
            rule,
            noise_multiplier=self.multiplier(row),
            trust="local" if method.endswith(LOCALLY) else "sum",
            algorithm=algorithm,
        )

    def noise_free(self, rule: Aggregation, *, algorithm: str = "fedavg") -> System:
        """Clipped, without noise."""
        found = self._sound(
            rule,
            noise_multiplier=1.0,  # not used
            trust="local" if rule in BY_ROW else "sum",
            algorithm=algorithm,
        )
        return found._replace(protection=Clipped(clip_norm=self.file.system.clip_norm))

    def unclipped(self, rate: float | None = None) -> FedLora:
        """Plain federated averaging, with a learning rate that nothing has to hold back."""
        rate = self.file.training.unclipped_rate if rate is None else rate
        client = Descent(make=adam_w(rate, 0.0))
        return replace(self.noise_free("average").algorithm, client=client)

    def _sound(
        self,
        rule: Aggregation,
        *,
        noise_multiplier: float,
        trust: Literal["sum", "local"],
        algorithm: str = "fedavg",
    ) -> System:
        file = self.file
        found = sound(
            self.kernel,
            make=self.descent,
            clip_norm=file.system.clip_norm,
            noise_multiplier=noise_multiplier,
            cohort=float(file.data.clients),
            trust=trust,
            algorithm=algorithm,
            aggregation=rule,
            clients=file.data.clients,
            loss=self.loss,
            epochs=file.training.epochs,
            batch_size=file.training.batch_size,
        )
        rate, server = file.system.server_learning_rate, found.algorithm.server
        if rate is None or not isinstance(server, Adaptive | Momentum):
            return found
        faster = replace(server, learning_rate=rate)
        return found._replace(algorithm=replace(found.algorithm, server=faster))

    def _inside(self, row: RowPlan) -> System:
        """FFA whose clients train with DP-SGD."""
        file, training = self.file, self.file.training
        kind = Unnoised if row.asked is None else DpSgd
        client = PrivateDescent(
            mechanism=kind(
                clip_norm=file.system.example_clip_norm,
                noise_multiplier=1.0 if row.asked is None else self.multiplier(row),
                sampling_rate=_HALF,
                expected_batch=_HALF * file.data.train_each,
            ),
            steps=training.private_steps,
            make=adam_w(training.private_rate, 0.0),
        )
        algorithm = FedLora(
            kernel=self.kernel,
            aggregation="ffa",
            client=client,
            divisor=float(file.data.clients),
            loss=self.loss,
        )
        return System(algorithm, client.protection(_PRIVATE))

    def multiplier(self, row: RowPlan) -> float:
        """Noise over clip bound that just meets the row's budget."""
        training = self.file.training
        assert row.asked is not None  # else there is no noise
        return _calibrated(
            epsilon=row.asked,
            delta=self.file.claim.delta,
            adjacency=row.adjacency,
            unit=row.unit,
            times=training.rounds * (training.private_steps if row.unit == "example" else 1),
        )

    def released(self, row: RowPlan, cohort: int) -> tuple[System, float]:
        """The public program at the row's claim, and the noise of every entry.

        Args:
            row: SCAFFOLD's control variates leave as they are.
            cohort: clients of a round.
        """
        file, leak = self.file, row.name == LEAK
        assert row.asked is not None  # a claim
        program = AsReleasedDpFedLora(
            epsilon=row.asked,
            delta=file.claim.delta,
            clip_norm=file.system.released_clip_norm,
            scaffold_leak=leak,
        )
        found = as_released(
            self.kernel,
            make=plain_sgd(file.system.scaffold_rate) if leak else self.descent,
            cohort=cohort,
            system=program,
            algorithm="scaffold" if leak else "fedavg",
            clients=file.data.clients,
            loss=self.loss,
            epochs=file.training.epochs,
            batch_size=file.training.batch_size,
        )
        return found, program.sigma

    def descent(self, params: Params) -> AdamW:
        """Of clipped training."""
        return adam_w(self.file.training.learning_rate, 0.0)(params)

    @property
    def loss(self) -> Loss:
        """Of each record."""
        return next_token_loss if self.file.causal else cross_entropy

    @cached_property
    def kernel(self) -> Adapters:
        """Adapters on the last layer; and the head of a classifier."""
        system, predicted = self.file.system, self.file.model.predicted
        if predicted is not None:
            return last_layer_causal(
                self.model, predicted=predicted, rank=system.rank, alpha=system.alpha
            )
        return last_layer_classifier(
            self.model, classes=CLASSES, rank=system.rank, alpha=system.alpha
        )


@lru_cache
def _calibrated(
    *, epsilon: float, delta: float, adjacency: Adjacency, unit: Unit, times: int
) -> float:
    """Of `times` steps of DP-SGD for an example, or rounds for a client; a twin has the same."""

    def event(multiplier: float) -> dpe.DpEvent:
        if unit == "example":
            return DpSgd(
                clip_norm=1.0, noise_multiplier=multiplier, sampling_rate=_HALF, expected_batch=1.0
            ).event(times)
        # A client's uploads with noise of their own cost as much as noisy sums.
        return dpe.SelfComposedDpEvent(dpe.GaussianDpEvent(multiplier), times)

    return calibrate(
        event, epsilon=epsilon, delta=delta, adjacency=adjacency, unit=unit, bracket=(0.1, 1e5)
    )


def _rule(name: str) -> Aggregation:
    known: dict[str, Aggregation] = {
        rule: rule for rule in ("ffa", "rolora", "average", "stack", "residual", "svd")
    }
    return known[name]
