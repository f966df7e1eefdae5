"""Moves NICs into pods and gives everything back."""
