"""Reports of a compression: measure the built network, print and draw the results, and write them as a page."""
