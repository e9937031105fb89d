"""Was this record used?"""
