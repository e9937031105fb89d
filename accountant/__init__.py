"""What is provably leaked at most? Claims, events, the ledger and exact accounting.

Imports without torch.
"""
