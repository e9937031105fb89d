"""Prompt stealing and inference: opened values, updates, released prompts, answers."""
