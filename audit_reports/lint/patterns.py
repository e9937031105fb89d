"""The patterns that the lint knows: D of accounting and release, S of secret sharing, H, V.

D1-D14 are the defects that recur over the published systems; `seen` says under which numbers the
specification of each system lists them. S1-S13 are those of computations on secret shares. H are
items of the hazards checklist that no D covers. V1 is the sum: the claim against exact accounting.
"""

from typing import NamedTuple


class Pattern(NamedTuple):
    """A pattern.

    Attributes:
        title: in a few words.
        hazards: items of the checklist that it belongs to.
        vpdr: numbers in the specification of VPDR; likewise dp_fpl, dp_fedlora.
    """

    title: str
    hazards: tuple[str, ...] = ()
    vpdr: tuple[str, ...] = ()
    dp_fpl: tuple[str, ...] = ()
    dp_fedlora: tuple[str, ...] = ()


PATTERNS: dict[str, Pattern] = {
    "V1": Pattern("the claim against exact accounting", ("H4",)),
    "D1": Pattern(
        "the claim is incomplete, or its trust does not fit what is seen",
        ("H4",),
        ("claim",),
        ("P10", "P11"),
        ("claim",),
    ),
    "D2": Pattern(
        "noise is scaled to a smaller sensitivity than the clip gives",
        ("H2",),
        ("F5",),
        ("P1",),
        ("L4",),
    ),
    "D3": Pattern(
        "something else is clipped than the protected unit", ("H6",), (), ("P1",), ("L5", "L6")
    ),
    "D4": Pattern(
        "several releases from the same records share one budget",
        ("H2",),
        (),
        ("P2",),
        ("L2",),
    ),
    "D5": Pattern(
        "releases are made that the accounting does not count", (), ("F5", "F9"), (), ("L1",)
    ),
    "D6": Pattern(
        "the noise formula is not exact where it is used", (), ("F13",), ("P3",), ("L3",)
    ),
    "D7": Pattern(
        "the sampler or schedule that runs is not the one accounted for",
        ("H3",),
        (),
        ("P4",),
        ("L9",),
    ),
    "D8": Pattern(
        "a value that depends on private data leaves without noise",
        ("H9",),
        ("F8", "F14"),
        ("P9",),
        ("L8",),
    ),
    "D9": Pattern(
        "a parameter of the mechanism depends on private data",
        ("H1",),
        ("F2", "F7", "F8"),
        ("P14",),
        (),
    ),
    "D10": Pattern(
        "the release is computed with something trained on the same records without noise",
        ("H7",),
        ("F6", "F15"),
        ("P5",),
        (),
    ),
    "D11": Pattern("noise can be regenerated or repeats", ("H8",), (), ("P12",), ("L10",)),
    "D12": Pattern(
        "selection and tuning are not accounted", ("H10",), ("claim",), ("P14",), ("L13",)
    ),
    "D13": Pattern(
        "state is shared between clients, or the evidence is not valid",
        (),
        ("F16",),
        ("P6", "P7", "P8", "P13", "P16"),
        ("L12",),
    ),
    "D14": Pattern(
        "the code does not do what the text, theorem or switch says",
        (),
        ("F1", "F3", "F4", "F10", "F11", "F12"),
        ("P15", "P17"),
        ("L6", "L7", "L11", "L14", "L15"),
    ),
    "S1": Pattern("opened values carry no bound"),
    "S2": Pattern("opened distances determine the inputs"),
    "S3": Pattern("assignments are opened, or clusters can be singletons"),
    "S4": Pattern("colluding members of a small cluster can subtract"),
    "S5": Pattern("differences of sums over changing clusters isolate a client"),
    "S6": Pattern("the basis of the dimension reduction is not public"),
    "S7": Pattern("field arithmetic can wrap, or its parameters or masks are not safe"),
    "S8": Pattern("masks are not uniform in the field"),
    "S9": Pattern("too few replies for a product of shares"),
    "S10": Pattern("malicious parties are out of model"),
    "S11": Pattern("what is served has no bound"),
    "S12": Pattern("input secrecy is compared with output privacy on one axis"),
    "S13": Pattern("opening the product polynomial shows more than its value"),
    "H5": Pattern("an empty cohort or a NaN contribution changes the path", ("H5",)),
    "H7": Pattern("operations mix records before the clip", ("H7",)),
    "H9": Pattern("what is treated as public is not listed", ("H9",)),
    "H11": Pattern("auxiliary information, correlated records or clients", ("H11",)),
    "H12": Pattern("floating-point noise", ("H12",)),
}
