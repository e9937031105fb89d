"""What a DP-FedLoRA comparison does not show, a sentence each."""

from typing import TYPE_CHECKING

from .dp_fedlora_plan import FFA, HEAD, INSIDE, LEAK, LOCAL, LOCALLY, RELEASED_ALL, RELEASED_TWO

if TYPE_CHECKING:
    from .dp_fedlora import DpFedLoraFile


def limits(file: "DpFedLoraFile") -> tuple[str, ...]:
    """Of this file; only what its rows can be asked about."""
    own = _of_a_causal_model(file) if file.causal else _of_a_classifier(file)
    return (*own, *_of_rows(file))


def _of_a_classifier(file: "DpFedLoraFile") -> tuple[str, ...]:
    data, training = file.data, file.training
    return (
        "The publication fine-tunes LLaMA-2-7B on instructions; here a small encoder has "
        "adapters in its last layer and sorts mails. The shape of differences is what can be "
        "compared, not the numbers.",
        "The base model has a random head, so it guesses. What the frozen features know by "
        f"themselves is the row {HEAD!r}.",
        f"Small: {data.clients} clients of {data.train_each} texts, {training.rounds} rounds. "
        "Seeds deal out the same texts anew, so intervals are narrower than over new texts. "
        "Learning rate, clip bound and rounds were chosen on mails of the same corpus.",
        f"All rows but {LOCAL!r} have one model for everybody, whose local and neighbour "
        "accuracy are the same on average over clients.",
        f"Neighbour accuracy of {LOCAL!r} is on {data.neighbour_sample} texts of others drawn "
        "for each client.",
        "Mails that are the same to the model are dropped over all clients before anything is "
        "accounted. Near copies stay (in the example one test mail in twenty shares four fifths of "
        "its tokens with a training mail): they favour models that see the mails of others.",
    )


def _of_a_causal_model(file: "DpFedLoraFile") -> tuple[str, ...]:
    data, model, training = file.data, file.model, file.training
    return (
        "The publication fine-tunes all layers of LLaMA-2-7B on instructions; here a model of 135 "
        "million parameters has adapters in its last layer and continues lines of plays. The shape "
        "of differences is what can be compared, not the numbers.",
        "The weights of SmolLM2 went through 4-bit quantisation, and its training texts may well "
        "hold these plays: no number here says how well it does on texts that it has never seen.",
        f"A text is {model.length} tokens of one speaker, cut without regard to sentences; its "
        f"last {model.predicted} tokens are predicted, the others are read. A loss is the mean "
        "over these, not over whole lines.",
        f"Small: {data.clients} clients of {data.train_each} texts, {training.rounds} rounds. All "
        "seeds have the same speakers and pieces and differ in which of a speaker's pieces are "
        "for training, so intervals are narrower than over new speakers. Learning rate, clip "
        "bound and rounds were chosen on lines of the same plays.",
        f"All rows but {LOCAL!r} have one model for everybody, whose own and neighbour log-loss "
        "are the same on average over clients.",
        f"Neighbour log-loss of {LOCAL!r} is on {data.neighbour_sample} texts of others drawn for "
        "each client.",
        "A speaker takes part if enough pieces are left that nobody else has: who takes part "
        "depends on texts, is taken for public, and no budget was charged for it.",
    )


def _of_rows(file: "DpFedLoraFile") -> list[str]:
    system = file.system
    found = []
    others = [f"rows {INSIDE!r} protect one record"] if system.dp_sgd_inside else []
    if system.local_noise or system.claims:
        others.append(f"noise at each client ({LOCALLY[2:]}, as released) trusts nobody")
    if others:
        found.append(
            f"Rows with noise at the sum protect a client with all of its records, and trust who "
            f"adds; {', '.join(others)}. Such epsilons are of different things: they are in "
            "different tables and figures, and no difference is taken between them."
        )
    if system.server_rules:
        found.append(
            f"What an optimiser at the server does to the noisy sum of {FFA!r} costs nothing; "
            + (
                "its rate is the published one."
                if system.server_learning_rate is None
                else "its rate was chosen by hand, without privacy."
            )
        )
    if system.claims:
        found += [
            f"Rows {LEAK!r} have no twin without records: what their control variates would be "
            "without any is not noise.",
            f"Row {RELEASED_ALL!r} averages over {file.data.clients} uploads, which the published "
            f"runs (2 a round) never did; row {RELEASED_TWO!r} runs {system.released_rounds} "
            "rounds, the publication 200. Its public learning rate is replaced by that of the "
            "file in both.",
        ]
    return found
