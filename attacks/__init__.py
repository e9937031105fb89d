"""What does an adversary get out of it?"""
