"""The import paths that the usage guides document; everything here forwards."""
