"""Which records made this gradient?"""
