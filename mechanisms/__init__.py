"""What is released, and with what noise?"""
