"""The published systems as their public code does them, defects included.

What a proof would need and the code does not do is an assumption that does not hold, with the
number of the defect (F for VPDR, P for DP-FPL, L for DP-FedLoRA). Nothing here is private; it is
what claims are tested on. Written from the systems' equations, not from their code.
"""
