"""Image files to classes and probabilities, and what shows them; `lenet_lab.predict` is the command."""
