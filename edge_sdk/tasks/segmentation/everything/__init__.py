"""Everything mode: masks of all that a picture shows, by a grid of points or guessed boxes. numpy and OpenCV alone."""
