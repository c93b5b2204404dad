"""Everything mode: masks of all that a picture shows, from a grid of points. numpy and OpenCV alone."""
