"""What the engine is made of, from the window generator to the drain."""
