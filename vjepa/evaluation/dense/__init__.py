"""Dense evaluation of frozen features: objects without labels, segmentation heads, propagation of masks."""
