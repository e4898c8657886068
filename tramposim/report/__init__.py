"""Records to text, JSON, CSV, Markdown. Reads records only."""
