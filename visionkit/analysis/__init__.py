"""What a network costs and sees, layer by layer, without running it on numbers; and the figures of the lectures."""
