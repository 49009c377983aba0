"""A network taken apart: what each layer makes of an image, what it costs, what reaches it on the way back."""
