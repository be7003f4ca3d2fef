"""Float networks to integer ones."""
