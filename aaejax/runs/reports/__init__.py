"""What a run shows of itself: pictures, curves, a page, and logs for other programs."""
