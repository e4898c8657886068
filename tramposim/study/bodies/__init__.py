"""The program bodies that scenarios are measured with."""
