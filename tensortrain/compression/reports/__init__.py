"""What a compression did: measured on the built network, printed, drawn, and written as a page."""
