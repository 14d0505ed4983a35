"""Feature maps of images, and what excites a filter."""
