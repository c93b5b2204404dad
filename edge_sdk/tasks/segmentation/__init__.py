"""The segmentation task: a picture and prompts (points, boxes, masks) in, masks out. Knows no family."""
