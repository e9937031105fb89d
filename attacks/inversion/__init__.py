"""What did the record look like?"""
