"""Do the attacks work, and do they stay below what is proven? `privassay selftest attacks`."""
