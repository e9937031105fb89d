"""Was this text used to tune a language model, and does the model give it away?"""
