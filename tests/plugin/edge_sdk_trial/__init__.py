"""What a package of others adds to edge-sdk: a runtime, two tasks, a family for each. Changes nothing of edge-sdk."""
