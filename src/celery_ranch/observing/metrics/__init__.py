"""What goes on, as Prometheus reads it."""
