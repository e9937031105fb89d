"""What happens when it really runs?"""
