"""So does the claim hold, and how do we tell a reviewer?"""
