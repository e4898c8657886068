"""Scenarios to measurements to records."""
