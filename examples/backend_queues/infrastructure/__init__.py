"""What the backend runs on."""
