"""An app that has something to tell its users."""
