"""What exporting the task "generation" adds: pictures as data, measures of quality, the refusal of collapsed int8."""
