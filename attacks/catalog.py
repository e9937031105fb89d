"""All attacks by name, as "module:class". A new one is one file and one line here."""

ATTACKS: dict[str, str] = {
    "informed_linear": "privassay.attacks.membership.informed_linear:InformedLinear",
    "prototype_distance": "privassay.attacks.membership.prototype_distance:PrototypeDistance",
    "prototype_inversion": "privassay.attacks.inversion.prototype:invert",
}
