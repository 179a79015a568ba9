"""What goes on: computed once, rendered by whoever asks."""
