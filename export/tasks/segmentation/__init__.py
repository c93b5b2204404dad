"""What exporting a segmenter adds: annotated pictures, golden samples, mIoU with a box and with one point."""
